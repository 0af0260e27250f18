# SPDX-License-Identifier: Apache-2.0
"""How plans and their progress look on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from scs_deploy.cli import _measured as measured
from scs_deploy.cli._options import console
from scs_deploy.engine.events import (
    Event,
    Expected,
    Note,
    ProbeNote,
    ProbeResult,
    Stage,
    TaskDone,
    TaskFailed,
    TaskStarted,
)
from scs_deploy.inventory.model import Inventory
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.spec.container import Impact

COLOURS = {
    Impact.NONE: "dim",
    Impact.RELOAD: "cyan",
    Impact.API: "yellow",
    Impact.CONTROL: "magenta",
    Impact.DATA_PLANE: "bold red",
    Impact.NETWORK: "bold red",
}


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan for scripts."""
    return {
        "changes": [c.model_dump(mode="json") for c in plan.changes],
        "held": [c.model_dump(mode="json") for c in plan.held],
        "drained": list(plan.drained),
    }


def print_plan(plan: Plan) -> None:
    """A plan for people: every change with host, reason and impact, then the sum."""
    print_drained(plan.drained)
    if plan.empty:
        console.print("[green]no changes[/]: the region is as desired")
        return
    if plan.changes:
        console.print(_table(plan.changes))
    if plan.held:
        console.print("held back until allowed with [bold]--allow data-plane[/]:")
        console.print(_table(plan.held))
    kinds = ", ".join(f"{n} {k}" for k, n in Counter(c.kind.value for c in plan.changes).items())
    hosts = len({c.host for c in plan.changes})
    console.print(f"[bold]{len(plan.changes)} changes[/] on {hosts} host(s): {kinds or 'none'}")


def print_inventory(inventory: Inventory) -> None:
    """Which inventory a plan goes by; `scs runs show` and --json have the hash in full."""
    console.print(f"[dim]inventory {inventory.hash[:23]}, {len(inventory.hosts)} host(s)[/]")


def print_drained(hosts: Iterable[str]) -> None:
    """Which hosts are out of use, for information."""
    for host in hosts:
        console.print(f"[yellow]{host} is drained[/] until `scs node undrain {host}`")


def _table(changes: tuple[Change, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("host", "phase", "change"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold", min_width=12)
    table.add_column("impact", no_wrap=True)
    table.add_column("why", overflow="fold", min_width=16)
    for c in changes:
        table.add_row(
            c.host, c.phase.value, c.kind.value, c.subject, Text(c.impact.value, COLOURS[c.impact]), Text(c.reason)
        )
    return table


class RunProgress:
    """A bar over the plan's changes and the task that runs; plain lines where there is no terminal."""

    def __init__(self, to: Console = console) -> None:
        self._total = 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=to,
            transient=True,
            disable=not to.is_terminal,
        )
        self._task = self._bar.add_task("planning", total=None)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """`with progress.paused():` - the terminal is free for a table or a question."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def planned(self, plan: Plan) -> None:
        """The plan is known."""
        self.expect(len(plan.changes))
        self._bar.update(self._task, description="applying")

    def expect(self, more: int) -> None:
        """So many more steps are to be done."""
        self._total += more
        self._bar.update(self._task, total=self._total)

    def __call__(self, event: Event) -> None:
        """A scs_deploy.engine.events.Watch. What hosts say is shown as text, never read as markup."""
        match event:
            case Stage(title):
                self._bar.update(self._task, description=escape(title))
            case Expected(more):
                self.expect(more)
            case TaskStarted(title, group):
                self._bar.update(self._task, description=f"[bold]{escape(group)}[/] {escape(title[:80])}")
            case TaskDone(title, host, changes):
                self._bar.advance(self._task, changes)
                if host:
                    self._line("green", "done", f"{host}: {title}")
            case TaskFailed(title, host, message):
                self._line("red", "failed", f"{host}: {title}: {message}")
            case Note(text, host):
                self._line("", "", f"{host}: {text}" if host else text)
            case ProbeNote(text):
                self._line("", "", f"prober: {text}")
            case ProbeResult(summaries):
                self._bar.console.print(measured.table(summaries))
                self._bar.console.print(measured.total(summaries), highlight=False)

    def _line(self, style: str, word: str, text: str) -> None:
        self._bar.console.print(Text.assemble("  ", (f"{word:<8}", style), text))
