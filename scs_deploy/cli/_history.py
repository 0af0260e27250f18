# SPDX-License-Identifier: Apache-2.0
"""Prints what happened to a container."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from scs_deploy.base.plural import counted
from scs_deploy.base.times import utc
from scs_deploy.cli._tables import Column, fitted
from scs_deploy.observed.history import Cause, Exit, History

EXITS = (
    Column("ended (UTC)", key=True),
    Column("code", key=True, justify="right"),
    Column("signal", key=True),
    Column("by", key=True),
    Column("started again by", leave=1),
)
CHECKS = (Column("checked (UTC)", key=True), Column("code", key=True, justify="right"), Column("output"))


def view(found: Iterable[History], width: int) -> RenderableType:
    """A paragraph for each host."""
    return Group(*(part for history in found for part in _host(history, width)))


def _host(history: History, width: int) -> Iterable[RenderableType]:
    since = f" since {_time(history.since)} UTC" if history.since else ""
    health = f", {history.health}" if history.health else ""
    restarts = f", {counted(history.restarts, 'restart')} by the engine" if history.restarts else ""
    good = history.state == "running" and history.health != "unhealthy"
    yield Text("")
    yield Text.assemble(
        (f"{history.host}/{history.container}", "bold"), " ", (history.state, "green" if good else "red"),
        f"{since}{health}{restarts}", overflow="fold",
    )  # fmt: skip
    if history.image:
        yield Text(f"image {history.image}", overflow="fold")
    if history.error:
        yield Text(f"the engine says: {history.error}", "red", overflow="fold")
    if history.checks:
        yield fitted(CHECKS, [(_time(c.time), str(c.code), c.output[:300]) for c in history.checks], width)
    yield fitted(EXITS, map(_exit, history.exits), width) if history.exits else Text("no exit is known")


def _exit(exit_: Exit) -> tuple[str, ...]:
    code = "?" if exit_.code is None else str(exit_.code)
    return _time(exit_.time), code, _signal(exit_.signal), by(exit_), "keeper" if exit_.restarted else ""


def by(exit_: Exit) -> str:
    """Who ended a container: a run by its id, else the cause."""
    return f"run {exit_.run}" if exit_.run else {Cause.SCS: "scs", Cause.MEMORY: "out of memory"}.get(
        exit_.cause, exit_.cause.value
    )  # fmt: skip


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name if number else ""
    except ValueError:
        return str(number)


def _time(time: datetime | None) -> str:
    return utc(time) if time else ""
