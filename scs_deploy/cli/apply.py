# SPDX-License-Identifier: Apache-2.0
"""`scs apply`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.cli import measured, show
from scs_deploy.cli.common import EnvironmentOption, console
from scs_deploy.cli.plan import Allow, Hosts, Names
from scs_deploy.errors import RefusedError

if TYPE_CHECKING:
    from scs_deploy.plan import Plan


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
    from scs_deploy import apply as applies
    from scs_deploy import context, pipeline

    region = context.load(environment)
    selection = pipeline.Selection(tuple(names or ()), tuple(host or ()), tuple(allow or ()))
    probe = measured.options(max_failed_requests, no_probe, ping)
    if not yes and not sys.stdin.isatty():
        raise RefusedError("apply asks before it changes anything, and there is nobody to ask", "add --yes")
    with show.RunProgress() as progress:

        def confirm(plan: Plan) -> bool:
            progress.__exit__()
            show.print_plan(plan)
            if not yes and not typer.confirm("apply?"):
                raise typer.Exit(1)
            progress.planned(plan)
            progress.__enter__()
            return True

        done = applies.apply(region, selection, progress, confirm, probe=probe)
    if done.run:
        console.print(f"[green]done[/]: {done.changes} changes in run {done.run}, nothing left")
    elif not done.held:
        console.print("[green]no changes[/]: the region is as desired")
    if done.held:
        console.print(f"[yellow]{done.held} changes are held back[/] until `scs apply --allow data-plane`")
