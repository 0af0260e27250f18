# SPDX-License-Identifier: Apache-2.0
"""`scs apply`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _progress as show
from scs_deploy.cli._options import EnvironmentOption, console
from scs_deploy.cli.plan import Allow, Hosts, Names

if TYPE_CHECKING:
    from collections.abc import Callable

    from scs_deploy.operations.apply import Applied
    from scs_deploy.plan.region import Plan
    from scs_deploy.region.region import Region


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs apply keystone --yes")(apply)


def apply(
    names: Names = None,
    host: Hosts = None,
    allow: Allow = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
) -> None:
    """Change the region to its desired state: exactly what `scs plan` shows, then verify that nothing is left.

    A region that answers before is measured meanwhile: a token, each API's list call, a small write a minute.
    """
    from scs_deploy.operations import apply as applies
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection

    region = Region.load(environment)
    selection = Selection(tuple(names or ()), tuple(host or ()), tuple(allow or ()))
    probe = measured.options(max_failed_requests, no_probe, ping)
    if not yes and not sys.stdin.isatty():
        raise RefusedError("apply asks before it changes anything, and there is nobody to ask", "add --yes")
    with show.RunProgress() as progress:
        done = applies.apply(region, selection, progress, confirming(region, progress, "apply?", yes), probe=probe)
    finished(region, done)


def confirming(region: Region, progress: show.RunProgress, question: str, yes: bool) -> Callable[[Plan], bool]:
    """What shows a plan and asks, unless everything is agreed to beforehand."""

    def confirm(plan: Plan) -> bool:
        progress.__exit__()
        show.print_plan(plan)
        show.print_inventory(region.inventory)
        if plan.changes and not yes and not typer.confirm(question):
            raise typer.Exit(1)
        progress.planned(plan)
        progress.__enter__()
        return True

    return confirm


def finished(region: Region, done: Applied) -> None:
    """How it ended, on one line."""
    if done.run:
        console.print(f"[green]done[/]: {done.changes} changes in run {done.run}, nothing left")
        _tell_netbox(region)
    elif not done.held:
        console.print("[green]no changes[/]: the region is as desired")
    if done.held:
        console.print(f"[yellow]{done.held} changes are held back[/] until `scs apply --allow data-plane`")


def _tell_netbox(region: Region) -> None:
    """Opt-in, and no part of the run: it is over, and stays done when NetBox does not answer."""
    from scs_deploy.inventory.netbox import mapping
    from scs_deploy.operations import netbox_writeback as writeback

    if not (region.environment.path / mapping.FILE).is_file():
        return
    try:
        if mapping.load(region.environment).writeback.enabled:
            told = writeback.report(region, lambda _done, _total: None)
            console.print(f"NetBox: {len(told.written)} device(s) written")
    except ScsError as error:
        console.print(f"[yellow]note:[/] NetBox was not told: {escape(str(error))} (scs inventory writeback)")
