# SPDX-License-Identifier: Apache-2.0
"""`scs logs`: the logs of containers on all their hosts, in one stream."""

from __future__ import annotations

import heapq
import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from queue import SimpleQueue
from threading import Thread
from typing import Annotated, Any

import typer

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.since import since
from scs_deploy.base.words import Words
from scs_deploy.cli._options import EnvironmentOption
from scs_deploy.cli._region import load_for_reading
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.region.region import Region
from scs_deploy.spec.catalog import close_matches

PROGRAM = paths.layer("core") / "files" / "container_log.py"
"""Prints a log on its host."""

LOGS = "/var/log/scs"
"""Where hosts keep the log of a container that was replaced."""


@dataclass(frozen=True)
class Source:
    """A container on a host."""

    host: Host
    container: str

    def __str__(self) -> str:
        return f"{self.host.name}/{self.container}"


class Level(Words):
    """Levels of a log's lines, from the least severe."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


Lines = Annotated[
    int | None,
    typer.Option(
        "--lines",
        "-n",
        min=0,
        help="Number of lines to show of each container, from the end: of those that the other options select. "
        "Default: 100; with --since, all.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Only lines since then: 30m, 12h, 7d, or a date with or without time."
    ),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only lines until then; as --since.")]
Grep = Annotated[
    str, typer.Option("--grep", metavar="REGEX", help="Only lines in which this regular expression occurs.")
]
AtLeast = Annotated[
    Level | None,
    typer.Option(
        "--level",
        metavar="LEVEL",
        help="Only lines of this level or a more severe one. A line that names no level counts as info.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add `scs logs`."""
    app.command(epilog="Example: scs logs nova --since 2h --level warning --grep 'req-4f6|timed out'")(logs)


def logs(
    name: Annotated[str, typer.Argument(metavar="SERVICE|CONTAINER", help="A service stands for all its containers.")],
    environment: EnvironmentOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Only this host.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they are written, until Ctrl-C.")
    ] = False,
    lines: Lines = None,
    begin: Since = None,
    end: Until = None,
    grep: Grep = "",
    level: AtLeast = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Print the time (UTC) at which each line was written.")
    ] = False,
    previous: Annotated[
        bool,
        typer.Option("--previous", "-p", help="Show the log of the container that the last upgrade or apply replaced."),
    ] = False,
) -> None:
    """Show the log of a container, or of all containers of a service, on all their hosts.

    Lines of several containers are sorted by time and prefixed with their host and container. Hosts filter their lines
    themselves: only what is shown crosses the network.
    """
    wanted = asked(lines, begin, end, grep, level, follow, previous)
    region = load_for_reading(environment)
    sources = select(region, name, host)
    with ExitStack() as stack:
        readers = [Reader(region.environment, source, wanted) for source in sources]
        for reader in readers:
            # an SSH client must not outlive an interrupted `scs logs -f`
            stack.callback(reader.stop)
        streams = [reader.lines() for reader in readers]
        for index, line in _interleave(streams) if follow else _by_time(streams):
            prefix = f"{sources[index]} | " if len(sources) > 1 else ""
            time, _, text = line.partition(" ")
            print(f"{prefix}{time} {text}" if timestamps else f"{prefix}{text}", flush=follow)
        for reader in readers:
            reader.check()


def asked(
    lines: int | None, begin: str | None, end: str | None, grep: str, level: Level | None, follow: bool, previous: bool
) -> dict[str, Any]:
    """The argument of the program that prints a log, without the container.

    :raises RefusedError: options contradict each other, or one cannot be understood
    """
    for name, other in (("--previous", previous), ("--until", end)):
        if other and follow:
            raise RefusedError(f"{name} cannot be combined with --follow", "leave out one of them")
    now = datetime.now(UTC)
    first = since(begin, now=now) if begin else None
    last = since(end, "--until", now) if end else None
    if first and first >= (last or now):
        limit = f"--until {end}" if end else "now"
        raise RefusedError(f"--since {begin} is not before {limit}: no line can match", "give an earlier time")
    try:
        re.compile(grep)
    except re.error as error:
        raise RefusedError(f"--grep {grep}: not a regular expression: {error}", "escape special characters") from None
    number = lines if lines is not None or first else 100
    return {
        "since": _stamp(first), "until": _stamp(last), "grep": grep, "level": level or "", "lines": number,
        "follow": follow, "previous": previous,
    }  # fmt: skip


def _stamp(time: datetime | None) -> str:
    """A time as the engine writes it."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z" if time else ""


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
        catalog.refuse_left_out(name)
        raise RefusedError(
            f"no service or container '{name}'",
            close_matches(name, [*catalog.services, *catalog.owner], catalog.services),
        )
    if host is not None and host not in inventory.hosts:
        raise RefusedError(f"no host '{host}'", close_matches(host, inventory.hosts))
    sources = [
        Source(member, container)
        for container in containers
        for member in region.hosts_of(service, container)
        if host in (None, member.name)
    ]
    if not sources:
        raise RefusedError(f"{name} does not run on {host or 'any host'}", "scs inventory show")
    return sources


class Reader:
    """Reads one log on one host."""

    def __init__(self, environment: Environment, source: Source, wanted: Mapping[str, Any]) -> None:
        self.source = source
        self.previous = bool(wanted["previous"])
        self.other: list[str] = []
        file = f"{LOGS}/{source.container}.log.1" if self.previous else ""
        argument = json.dumps({**wanted, "container": source.container, "file": file})
        program = PROGRAM.read_text(encoding="utf-8")
        command = ["python3", "-c", program, argument]
        ssh, *arguments = ssh_command(environment, source.host, command, terminal=False)
        self.process = subprocess.Popen(
            [ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def lines(self) -> Iterator[str]:
        """The log's lines, each beginning with its time. Other output is kept for `check`."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            stamp = text.partition(" ")[0].rstrip()
            if stamp.endswith("Z") and stamp[:4].isdigit():
                yield text.rstrip("\n")
            else:
                self.other.append(text.strip())

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
            missing = "if the file is missing, no run has replaced it yet"
            raise ScsError(
                f"{self.source}: {message}", missing if self.previous else f"scs apply {self.source.container}"
            )

    def stop(self) -> None:
        """Terminate the command if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


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
