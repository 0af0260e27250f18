# SPDX-License-Identifier: Apache-2.0
"""`scs logs`: the logs of containers on all their hosts, in one stream."""

from __future__ import annotations

import heapq
import json
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from queue import SimpleQueue
from threading import Thread
from typing import Annotated

import typer

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli._options import EnvironmentOption
from scs_deploy.cli._region import load_region
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.region.region import Region
from scs_deploy.spec.catalog import close_matches


@dataclass(frozen=True)
class Source:
    """A container on a host."""

    host: Host
    container: str

    def __str__(self) -> str:
        return f"{self.host.name}/{self.container}"


def register(app: typer.Typer) -> None:
    """Add `scs logs`."""
    app.command(epilog="Example: scs logs nova_compute -f --lines 20")(logs)


def logs(
    name: Annotated[str, typer.Argument(metavar="SERVICE|CONTAINER", help="A service stands for all its containers.")],
    environment: EnvironmentOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Only this host.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they are written, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Number of lines to show of each container, from the end.")
    ] = 100,
    previous: Annotated[
        bool,
        typer.Option("--previous", "-p", help="Show the log of the container that the last upgrade or apply replaced."),
    ] = False,
) -> None:
    """Show the log of a container, or of all containers of a service, on all their hosts.

    Lines of several containers are sorted by time and prefixed with their host and container.
    """
    if previous and follow:
        raise RefusedError("--previous cannot be combined with --follow", "leave out one of them")
    region = load_region(environment)
    sources = select(region, name, host)
    with ExitStack() as stack:
        kind = Previous if previous else Reader
        readers = [kind(region.environment, source, follow, lines) for source in sources]
        for reader in readers:
            # an SSH client must not outlive an interrupted `scs logs -f`
            stack.callback(reader.stop)
        streams = [reader.lines() for reader in readers]
        for index, line in _interleave(streams) if follow else _by_time(streams):
            prefix = f"{sources[index]} | " if len(sources) > 1 else ""
            print(f"{prefix}{line.partition(' ')[2]}", flush=follow)
        for reader in readers:
            reader.check()


def select(region: Region, name: str, host: str | None) -> list[Source]:
    """The containers, with their hosts, that `name` stands for.

    :raises RefusedError: the service, container or host does not exist, or the service does not run on the host
    """
    catalog, inventory = region.catalog, region.inventory
    if name in catalog.services:
        service, containers = name, list(catalog.services[name].containers)
        if name in containers:
            # a service's name stands for all its containers, also if one of them has the same name
            containers.sort(key=lambda c: c != name)
    elif name in catalog.owner:
        service, containers = catalog.owner[name], [name]
    else:
        raise RefusedError(f"no service or container '{name}'", close_matches(name, catalog))
    if host is not None and host not in inventory.hosts:
        raise RefusedError(f"no host '{host}'", f"there are: {', '.join(sorted(inventory.hosts))}")
    sources = [
        Source(member, container)
        for container in containers
        for member in inventory.group(region.group_of(service, container))
        if host in (None, member.name)
    ]
    if not sources:
        raise RefusedError(f"{name} does not run on {host or 'any host'}", "scs inventory show")
    return sources


class Reader:
    """One `docker logs` on one host."""

    hint = "scs apply {container}"

    def __init__(self, environment: Environment, source: Source, follow: bool, lines: int) -> None:
        self.source = source
        self.other: list[str] = []
        # containers write to stdout and stderr; merging them on the host keeps their order
        joined = ["sh", "-c", f"exec {shlex.join(self.command(follow, lines))} 2>&1"]
        ssh, *arguments = ssh_command(environment, source.host, joined, terminal=False)
        self.process = subprocess.Popen(
            [ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def command(self, follow: bool, lines: int) -> list[str]:
        """The command that prints the log on the host."""
        more = ["--follow"] if follow else []
        return ["docker", "logs", "--timestamps", "--tail", str(lines), *more, self.source.container]

    def line(self, text: str) -> str | None:
        """A line of the log as `<time> <text>`; None: the text is a message of the command itself."""
        stamp = text.partition(" ")[0].rstrip()
        return text if stamp.endswith("Z") and stamp[:4].isdigit() else None

    def lines(self) -> Iterator[str]:
        """The log's lines, each beginning with its time. Other output is kept for `check`."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = self.line(text.rstrip("\n"))
            if line is None:
                self.other.append(text.strip())
            else:
                yield line

    def check(self) -> None:
        """Wait for the command to end.

        :raises ScsError: the host is unreachable, or has no such container
        """
        _, error = self.process.communicate()
        code = self.process.returncode
        if code == 255:
            host = self.source.host
            raise ScsError(f"{host.name} ({host.address}): unreachable over SSH: {' '.join(error.split())}")
        if code:
            message = " ".join(self.other) or f"reading its log failed with exit code {code}"
            raise ScsError(f"{self.source}: {message}", self.hint.format(container=self.source.container))

    def stop(self) -> None:
        """Terminate the command if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


class Previous(Reader):
    """Reads the log file of the previous container, which the engine keeps."""

    hint = "if the file is missing, no run has replaced the container yet"

    def command(self, _follow: bool, lines: int) -> list[str]:
        """Print the end of the file."""
        return ["tail", f"--lines={lines}", f"/var/log/scs/{self.source.container}.log.1"]

    def line(self, text: str) -> str | None:
        """Parse JSON with `time` and `log`; times are padded to their width in `docker logs`."""
        try:
            entry = json.loads(text)
            second, _, fraction = entry["time"].rstrip("Z").partition(".")
            return f"{second}.{fraction:0<9}Z {entry['log'].rstrip()}"
        except (ValueError, KeyError, TypeError):
            return None


def _by_time(streams: list[Iterator[str]]) -> Iterable[tuple[int, str]]:
    # Docker's timestamps have a fixed width, so they sort as text
    numbered = [zip(repeat(index), stream, strict=False) for index, stream in enumerate(streams)]
    return heapq.merge(*numbered, key=lambda item: item[1].partition(" ")[0])


def _interleave(streams: list[Iterator[str]]) -> Iterator[tuple[int, str]]:
    """Lines of all streams in the order in which they arrive, until every stream has ended."""
    queue: SimpleQueue[tuple[int, str | None]] = SimpleQueue()

    def read(index: int, stream: Iterator[str]) -> None:
        for line in stream:
            queue.put((index, line))
        queue.put((index, None))

    for index, stream in enumerate(streams):
        Thread(target=read, args=(index, stream), daemon=True).start()
    left = len(streams)
    while left:
        index, line = queue.get()
        if line is None:
            left -= 1
        else:
            yield index, line
