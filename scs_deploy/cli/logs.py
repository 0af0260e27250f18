# SPDX-License-Identifier: Apache-2.0
"""`scs logs`: the logs of containers on all their hosts, in one stream; from the log stores, or from the hosts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.since import since
from scs_deploy.base.words import Words
from scs_deploy.cli._options import EnvironmentOption, JsonOption, errors
from scs_deploy.cli._region import load_for_reading
from scs_deploy.engine.container_logs import Level, Reader, by_time, interleave, is_unit, select

if TYPE_CHECKING:
    from scs_deploy.region.region import Region
    from scs_deploy.shared.log_store import Line


class Origin(Words):
    """Where lines are read."""

    AUTO = "auto"
    STORE = "store"
    HOSTS = "hosts"


Lines = Annotated[
    int | None,
    typer.Option(
        "--lines",
        "-n",
        min=0,
        help="Number of lines to show of each container, from the end: of those that the other options select. "
        "Default: 100; with --since, all. From the log stores: of all together.",
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
    app.command(epilog="Examples: scs logs nova --since 2h --level warning; scs logs --request-id ID --since 1d")(logs)


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[SERVICE|CONTAINER|UNIT]",
            help="A service stands for all its containers; a systemd unit, e.g. docker.service, or kernel, is of the "
            "hosts' journal. Default: everything.",
        ),
    ] = None,
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
    request: Annotated[
        str, typer.Option("--request-id", metavar="ID", help="Only lines about this request, of all services.")
    ] = "",
    origin: Annotated[
        Origin,
        typer.Option(
            "--from",
            metavar="auto|store|hosts",
            help="Read the log stores or the hosts. auto: the stores without a name, with --request-id and for units; "
            "if they do not answer, the hosts.",
        ),
    ] = Origin.AUTO,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Print the time (UTC) at which each line was written.")
    ] = False,
    previous: Annotated[
        bool,
        typer.Option("--previous", "-p", help="Show the log of the container that the last upgrade or apply replaced."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the log of a container, of all containers of a service, or of everything, on all hosts.

    Lines of several containers are sorted by time and prefixed with their host and container. What filters is where the
    lines are: only what is shown crosses the network.
    """
    wanted = asked(lines, begin, end, grep, level, follow, previous)
    wanted["request"] = request
    here = [option for option, given in (("--follow", follow), ("--previous", previous)) if given]
    _check(name, here, request, origin)
    region = load_for_reading(environment)
    show = _Printer(as_json, timestamps, region.catalog.owner)
    if origin is Origin.STORE or (origin is Origin.AUTO and not here and (name is None or request or is_unit(name))):
        try:
            _from_stores(region, name, host, level, wanted, show)
            return
        except ScsError as error:
            if origin is Origin.STORE or (name and is_unit(name)):
                raise
            errors.print(f"[yellow]reading the hosts: {escape(str(error.message))}[/]")
    _from_hosts(region, name, host, wanted, show)


def _check(name: str | None, here: list[str], request: str, origin: Origin) -> None:
    """Refuse options that contradict each other.

    :param here: options that only hosts know
    """
    if here and (origin is Origin.STORE or request or name is None):
        reason = "--from store" if origin is Origin.STORE else "--request-id" if request else "no name"
        raise RefusedError(f"{here[0]} cannot be combined with {reason}: it reads a container on its hosts", "name one")
    if request and not re.fullmatch(r"[\w.-]+", request):
        raise RefusedError(
            f"--request-id {request}: not the id of a request", "e.g. req-7db7fb16-fc02-4505-82df-54b210c649ac"
        )


def _from_stores(
    region: Region, name: str | None, host: str | None, level: Level | None, wanted: Mapping[str, Any], show: _Printer
) -> None:
    from scs_deploy.cli import _log_store

    for found in _log_store.find(region, _log_store.search(region, name, host, level, wanted)):
        show(found.time, found.host, found.container or found.service, found.text, found)


def _from_hosts(region: Region, name: str | None, host: str | None, wanted: Mapping[str, Any], show: _Printer) -> None:
    sources = select(region, name, host)
    with ExitStack() as stack:
        readers = [Reader(region.environment, source, wanted) for source in sources]
        for reader in readers:
            # an SSH client must not outlive an interrupted `scs logs -f`
            stack.callback(reader.stop)
        streams = [reader.lines() for reader in readers]
        show.named = len(sources) > 1 or bool(sources[0].others)
        for index, line in interleave(streams) if wanted["follow"] else by_time(streams):
            time, _, text = line.partition(" ")
            container = sources[index].container
            if sources[index].others:
                container, _, text = text.partition(" ")
            show(time, sources[index].host.name, container, text)
        for reader in readers:
            reader.check()


class _Printer:
    """Prints lines, for people or for scripts."""

    def __init__(self, as_json: bool, timestamps: bool, owner: Mapping[str, str]) -> None:
        self.as_json = as_json
        self.owner = owner
        """container: service"""
        self.timestamps = timestamps
        self.named = True
        """lines of more than one container: each says whose it is"""

    def __call__(self, time: str, host: str, container: str, text: str, line: Line | None = None) -> None:
        if self.as_json:
            service = self.owner.get(container, "")
            known = {
                "time": time, "host": host, "service": service, "container": container, "level": "", "text": text,
                "fields": {},
            }  # fmt: skip
            print(json.dumps(line.model_dump() if line else known, ensure_ascii=False), flush=True)
            return
        prefix = f"{host}/{container} | " if self.named else ""
        print(f"{prefix}{time} {text}" if self.timestamps else f"{prefix}{text}", flush=True)


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
