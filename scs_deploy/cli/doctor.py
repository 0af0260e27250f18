# SPDX-License-Identifier: Apache-2.0
"""`scs doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.cli.plan import Hosts

if TYPE_CHECKING:
    from scs_deploy.doctor.model import Check

COLUMNS = (Column("check", key=True), Column("result", key=True), Column("seen"), Column("what to do"))
STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def register(app: typer.Typer) -> None:
    """Add `scs doctor`."""
    app.command(epilog="Example: scs doctor --host control-1")(doctor)


def doctor(
    manager: Annotated[bool, typer.Option("--manager", help="Check this machine only; needs no region.")] = False,
    host: Hosts = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the manager, the region and its hosts, and say what to do. Changes nothing. Exits 1 if a check failed.

    Warnings are what works for now: with them alone, it exits 0.
    """
    from scs_deploy.doctor import examine

    if manager and (host or environment):
        raise RefusedError("--manager checks this machine only", "leave out --host and --environment")
    with errors.status("looking"):
        found = list(examine.manager() if manager else examine.everything(environment, tuple(host or ())))
    broken = [c for c in found if c.level == "failed"]
    if as_json:
        print_json({"ok": not broken, "checks": [c.model_dump(mode="json") for c in found]})
    else:
        _print(found)
    if broken:
        raise typer.Exit(1)


def _print(found: Sequence[Check]) -> None:
    show_table(console, COLUMNS, [_row(c) for c in found if not c.host])
    on_hosts = [c for c in found if c.host]
    if on_hosts:
        console.print()
        _side_by_side(on_hosts)
    troubled = [c for c in on_hosts if c.remedy]
    if troubled:
        console.print()
        columns = (Column("host", key=True), *COLUMNS)
        show_table(console, columns, [(c.host, *_row(c)) for c in troubled])
    said = ", ".join(f"[{STYLES[level]}]{sum(c.level == level for c in found)} {level}[/]" for level in STYLES)
    console.print(f"{counted(len(found), 'check')}: {said}")


def _row(check: Check) -> tuple[str | Text, ...]:
    return check.check, Text(check.level, STYLES[check.level]), check.seen, check.remedy


def _side_by_side(checks: Sequence[Check]) -> None:
    """A line for each host, a column for each check. What is wrong is told below in full."""
    names = list(dict.fromkeys(c.check for c in checks))
    cells: dict[str, dict[str, Text]] = {}
    for c in checks:
        text = c.seen if c.level == "ok" else c.level
        cells.setdefault(c.host, {})[c.check] = Text(text, STYLES[c.level])
    columns = (Column("host", key=True), *(Column(n, leave=i) for i, n in enumerate(names)))
    show_table(console, columns, [(h, *(own.get(n, Text("-")) for n in names)) for h, own in cells.items()])
