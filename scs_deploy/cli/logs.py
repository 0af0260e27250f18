# SPDX-License-Identifier: Apache-2.0
"""`scs logs`: what containers wrote, from all their hosts, in one stream."""

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
    name: Annotated[str, typer.Argument(metavar="SERVICE|CONTAINER", help="A service means all its containers.")],
    environment: EnvironmentOption = None,
    host: Annotated[str | None, typer.Option("--host", help="On this host only.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new lines come, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each container.")] = 100,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Of the container before, which an upgrade or apply replaced.")
    ] = False,
) -> None:
    """Show the log of a container, or of all containers of a service, from all their hosts.

    Lines of several containers are in the order of their time and say where they are from.
    """
    if previous and follow:
        raise RefusedError("a container that was replaced writes nothing more", "leave out --follow or --previous")
    region = Region.load(environment)
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
    """Which containers on which hosts `name` means.

    :raises RefusedError: no such service, container or host, or none of them runs there
    """
    catalog, inventory = region.catalog, region.inventory
    if name in catalog.services:
        service, containers = name, list(catalog.services[name].containers)
        if name in containers:
            # a service whose main container has its name still means all of them
            containers.sort(key=lambda c: c != name)
    elif name in catalog.owner:
        service, containers = catalog.owner[name], [name]
    else:
        raise RefusedError(f"no service or container '{name}'", close_matches(name, catalog))
    if host is not None and host not in inventory.hosts:
        raise RefusedError(f"no host '{host}'", f"there are: {', '.join(sorted(inventory.hosts))}")
    found = [
        Source(member, container)
        for container in containers
        for member in inventory.group(region.group_of(service, container))
        if host in (None, member.name)
    ]
    if not found:
        raise RefusedError(f"{name} does not run on {host or 'any host'}", "scs inventory show")
    return found


class Reader:
    """One `docker logs` on one host."""

    hint = "scs apply {container}"

    def __init__(self, environment: Environment, source: Source, follow: bool, lines: int) -> None:
        self.source = source
        self.other: list[str] = []
        # containers write to both of their streams; joined there, their order stays
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
        """What prints the log on the host."""
        more = ["--follow"] if follow else []
        return ["docker", "logs", "--timestamps", "--tail", str(lines), *more, self.source.container]

    def line(self, text: str) -> str | None:
        """A line of the log as `<time> <text>`; None: it is none, but a message."""
        stamp = text.partition(" ")[0].rstrip()
        return text if stamp.endswith("Z") and stamp[:4].isdigit() else None

    def lines(self) -> Iterator[str]:
        """The log's lines, each beginning with its time; what else is said is kept for `check`."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = self.line(text.rstrip("\n"))
            if line is None:
                self.other.append(text.strip())
            else:
                yield line

    def check(self) -> None:
        """Wait for the end.

        :raises ScsError: the host was not reached, or it has no such container
        """
        _, error = self.process.communicate()
        code = self.process.returncode
        if code == 255:
            host = self.source.host
            raise ScsError(f"{host.name} ({host.address}): not reached over SSH: {' '.join(error.split())}")
        if code:
            said = " ".join(self.other) or f"its log ended with {code}"
            raise ScsError(f"{self.source}: {said}", self.hint.format(container=self.source.container))

    def stop(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


class Previous(Reader):
    """What the container before the present one wrote last: the engine's own file, which was kept."""

    hint = "no run has replaced it yet, if there is no such file"

    def command(self, _follow: bool, lines: int) -> list[str]:
        """The end of the file."""
        return ["tail", f"--lines={lines}", f"/var/log/scs/{self.source.container}.log.1"]

    def line(self, text: str) -> str | None:
        """Of JSON with `time` and `log`; times get the width that they have in `docker logs`."""
        try:
            entry = json.loads(text)
            second, _, fraction = entry["time"].rstrip("Z").partition(".")
            return f"{second}.{fraction:0<9}Z {entry['log'].rstrip()}"
        except (ValueError, KeyError, TypeError):
            return None


def _by_time(streams: list[Iterator[str]]) -> Iterable[tuple[int, str]]:
    # Docker's times have a fixed width, so they sort as text
    numbered = [zip(repeat(index), stream, strict=False) for index, stream in enumerate(streams)]
    return heapq.merge(*numbered, key=lambda item: item[1].partition(" ")[0])


def _interleave(streams: list[Iterator[str]]) -> Iterator[tuple[int, str]]:
    """Lines of all streams as they come, until every stream has ended."""
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
