# SPDX-License-Identifier: Apache-2.0
"""`scs status`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import _history as history
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json
from scs_deploy.cli._plans import out_of_use
from scs_deploy.cli._region import load_for_reading
from scs_deploy.cli._tables import Column, fitted
from scs_deploy.cli.plan import Hosts, Names

if TYPE_CHECKING:
    from scs_deploy.observed.history import History
    from scs_deploy.region.region import Region

COLUMNS = (
    Column("host", key=True),
    Column("service", leave=2),
    Column("container", key=True),
    Column("state", key=True),
    Column("health"),
    Column("restarts", leave=1, justify="right"),
    Column("since", leave=3),
    Column("image", leave=4),
)

UNREACHABLE = "unreachable"
"""State of all containers of a host that does not respond."""

State = dict[str, Any]
"""A container, as `scs status --json` has it."""

Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        "-w",
        min=1,
        metavar="SECONDS",
        help="Refresh at this interval, until Ctrl-C. In a pipe, print only containers that changed.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs status openstack --watch 5; scs status nova_compute --host compute-1")(status)


def status(
    names: Names = None,
    host: Hosts = None,
    watch: Watch = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state, health and restarts of every container. Exits 1 if one is not running or unhealthy.

    The name of one container also shows what happened to it on each host: its image, its latest health checks, and its
    last exits with time, exit code, signal and who caused them.
    """
    region = load_for_reading(environment)
    if watch is not None:
        _watch(region, tuple(names or ()), tuple(host or ()), watch, as_json)
        return
    with Waiting("observing"):
        states, drained = observe(region, tuple(names or ()), tuple(host or ()))
        histories = _histories(region, tuple(names or ()), states)
        trouble, evacuated = ("", ()) if as_json else _storage(region, tuple(names or ()))
    if as_json:
        print_json(_with_histories(states, histories))
    else:
        console.print(_view(states, drained, console.width, evacuated))
        if histories:
            console.print(history.view(histories, console.width))
        if trouble:
            console.print(Text.assemble(("storage", "yellow"), f": {trouble}"), soft_wrap=True)
    if not all(map(_works, states)):
        raise typer.Exit(1)


def _histories(region: Region, names: tuple[str, ...], states: Sequence[State]) -> tuple[History, ...]:
    """What happened to the container, if the name of one was given."""
    from scs_deploy.engine.history import ask

    if len(names) != 1 or names[0] not in region.catalog.owner:
        return ()
    hosts = [region.inventory.hosts[s["host"]] for s in states
             if s["container"] == names[0] and s["state"] != UNREACHABLE]  # fmt: skip
    return ask(region.environment, names[0], hosts)


def _storage(region: Region, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """(what is wrong with the region's Ceph in one line, hosts that it shuts out since they were evacuated).

    Both are empty if neither Ceph nor a client of it was selected.
    """
    from scs_deploy.operations.storage import look
    from scs_deploy.region import ceph
    from scs_deploy.spec.storage import CEPH

    chosen = region.catalog.select(names)
    if not ceph.enabled(region) or not chosen & {CEPH, *(service for service, _ in ceph.clients(region).values())}:
        return "", ()
    try:
        found = look.health(region)
    except ScsError as error:
        return (str(error) if CEPH in chosen else ""), ()
    return (found.trouble if CEPH in chosen else ""), found.fenced


def _with_histories(states: Sequence[State], histories: Sequence[History]) -> list[State]:
    found = {(h.host, h.container): h for h in histories}
    return [
        {**s, "history": found[key].model_dump(mode="json")} if (key := (s["host"], s["container"])) in found else s
        for s in states
    ]


def observe(region: Region, names: tuple[str, ...], hosts: tuple[str, ...]) -> tuple[list[State], list[str]]:
    """(states of the selected containers, hosts that an operator drained)."""
    from scs_deploy.engine.observe import observe_hosts

    chosen = region.catalog.select(names)
    _check_placed(region, names, chosen, region.select_hosts(hosts))
    containers = {n for n in names if n in region.catalog.owner and n not in region.catalog.services}
    selected = region.select_hosts(hosts)
    seen = observe_hosts(region, chosen, states=True, hosts=selected, spared=selected)
    states = [s for s in seen.states if s["service"] in chosen]
    states += _out_of_reach(region, chosen, seen.unreachable)
    if containers and all(n in containers for n in names):
        states = [s for s in states if s["container"] in containers]
    return states, [h.host for h in seen.hosts if h.drained]


def _out_of_reach(region: Region, services: frozenset[str], unreachable: Mapping[str, str]) -> list[State]:
    """The containers of hosts that do not respond: nobody knows their state."""
    return [
        {"host": host.name, "service": service, "container": container, "state": UNREACHABLE, "health": "",
         "restarts": 0, "started": None, "image": "", "reason": unreachable[host.name]}
        for service in sorted(services)
        for container in region.catalog.services[service].containers
        for host in region.hosts_of(service, container)
        if host.name in unreachable
    ]  # fmt: skip


def _check_placed(region: Region, names: tuple[str, ...], services: frozenset[str], hosts: frozenset[str]) -> None:
    """:raises RefusedError: nothing of the selection runs on these hosts: an empty table would look like good news"""
    placed = {
        host.name
        for service in services
        for container in region.catalog.services[service].containers
        for host in region.hosts_of(service, container)
        if container in names or service in names or not set(names) & region.catalog.owner.keys()
    }
    if not placed & hosts:
        raise RefusedError(
            f"{', '.join(names)}: does not run on {', '.join(sorted(hosts))}",
            f"it runs on: {', '.join(sorted(placed))}",
        )


def _works(state: State) -> bool:
    return bool(state["state"] == "running" and state["health"] != "unhealthy")


def _row(state: State) -> tuple[str | Text, ...]:
    good = state["state"] == "running" and state["health"] in ("", "healthy", "starting")
    since = (state["started"] or "")[:19].replace("T", " ")
    return (
        state["host"], state["service"], state["container"], Text(state["state"], "green" if good else "red"),
        state["health"], str(state["restarts"]), since, state["image"],
    )  # fmt: skip


def _view(states: Sequence[State], drained: Sequence[str], width: int, evacuated: Sequence[str] = ()) -> RenderableType:
    lines = out_of_use(drained, evacuated)
    lost = {s["host"]: s["reason"] for s in states if s["state"] == UNREACHABLE}
    lines += [Text.assemble((f"{h} is unreachable", "red"), f": {why}") for h, why in lost.items()]
    return Group(fitted(COLUMNS, map(_row, states), width), *lines)


def _watch(region: Region, names: tuple[str, ...], hosts: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Observe at an interval. Prints an error if an observation fails, and continues."""
    before: list[State] | None = None
    live = Live(console=console, auto_refresh=False, screen=console.is_terminal)
    with live if console.is_terminal and not as_json else errors.status(""):
        while True:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            try:
                states, drained = observe(region, names, hosts)
            except ScsError as error:
                errors.print(Text.assemble(f"{now}  ", ("error: ", "bold red"), str(error)))
            else:
                if as_json:
                    typer.echo(json.dumps({"time": now, "containers": states}, sort_keys=True, default=str))
                elif console.is_terminal:
                    title = Text(f"{now}, every {seconds:g} s; stop with Ctrl-C", "dim")
                    live.update(Group(title, _view(states, drained, console.width)), refresh=True)
                else:
                    changed = [s for s in states if before is None or s not in before]
                    if changed:
                        console.print(Group(Text(now), fitted(COLUMNS, map(_row, changed), console.width)))
                before = states
            time.sleep(seconds)
