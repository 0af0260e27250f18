# SPDX-License-Identifier: Apache-2.0
"""`scs status`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from scs_deploy.base.errors import ScsError
from scs_deploy.cli import _history as history
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json
from scs_deploy.cli._plans import out_of_use
from scs_deploy.cli._region import load_for_reading
from scs_deploy.cli._tables import Column, fitted
from scs_deploy.cli.plan import Hosts, Names

if TYPE_CHECKING:
    from scs_deploy.observed.history import History
    from scs_deploy.operations.containers import State
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
    from scs_deploy.operations import containers

    region = load_for_reading(environment)
    if watch is not None:
        _watch(region, tuple(names or ()), tuple(host or ()), watch, as_json)
        return
    with Waiting("observing"):
        states, drained = containers.observe(region, tuple(names or ()), tuple(host or ()))
        histories = _histories(region, tuple(names or ()), states)
        trouble, evacuated = ("", ()) if as_json else containers.storage(region, tuple(names or ()))
    if as_json:
        print_json(_with_histories(states, histories))
    else:
        console.print(_view(states, drained, console.width, evacuated))
        if histories:
            console.print(history.view(histories, console.width))
        if trouble:
            console.print(Text.assemble(("storage", "yellow"), f": {trouble}"), soft_wrap=True)
    if not all(map(containers.works, states)):
        raise typer.Exit(1)


def _histories(region: Region, names: tuple[str, ...], states: Sequence[State]) -> tuple[History, ...]:
    """What happened to the container, if the name of one was given."""
    from scs_deploy.engine.history import ask
    from scs_deploy.operations.containers import UNREACHABLE

    if len(names) != 1 or names[0] not in region.catalog.owner:
        return ()
    hosts = [region.inventory.hosts[s["host"]] for s in states
             if s["container"] == names[0] and s["state"] != UNREACHABLE]  # fmt: skip
    return ask(region.environment, names[0], hosts)


def _with_histories(states: Sequence[State], histories: Sequence[History]) -> list[State]:
    found = {(h.host, h.container): h for h in histories}
    return [
        {**s, "history": found[key].model_dump(mode="json")} if (key := (s["host"], s["container"])) in found else s
        for s in states
    ]


def _row(state: State) -> tuple[str | Text, ...]:
    good = state["state"] == "running" and state["health"] in ("", "healthy", "starting")
    since = (state["started"] or "")[:19].replace("T", " ")
    return (
        state["host"], state["service"], state["container"], Text(state["state"], "green" if good else "red"),
        state["health"], str(state["restarts"]), since, state["image"],
    )  # fmt: skip


def _view(states: Sequence[State], drained: Sequence[str], width: int, evacuated: Sequence[str] = ()) -> RenderableType:
    from scs_deploy.operations.containers import UNREACHABLE

    lines = out_of_use(drained, evacuated)
    lost = {s["host"]: s["reason"] for s in states if s["state"] == UNREACHABLE}
    lines += [Text.assemble((f"{h} is unreachable", "red"), f": {why}") for h, why in lost.items()]
    return Group(fitted(COLUMNS, map(_row, states), width), *lines)


def _watch(region: Region, names: tuple[str, ...], hosts: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Observe at an interval. Prints an error if an observation fails, and continues."""
    from scs_deploy.operations.containers import observe

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
