# SPDX-License-Identifier: Apache-2.0
"""`scs plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from scs_deploy.cli import show
from scs_deploy.cli.common import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.service import Impact

Names = Annotated[list[str] | None, typer.Argument(metavar="SERVICE|LAYER", help="Only these; default: everything.")]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="Only this host; may be given several times.")]
Allow = Annotated[
    list[Impact] | None,
    typer.Option(
        "--allow", help="Consent to an impact for this run: `data-plane` restarts what guests' traffic passes through."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs plan nova --host compute-1")(plan)


def plan(
    names: Names = None,
    host: Hosts = None,
    allow: Allow = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 when there are changes.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an apply would change, and why. Changes nothing."""
    from scs_deploy import context, pipeline

    region = context.load(environment)
    selection = pipeline.Selection(tuple(names or ()), tuple(host or ()), tuple(allow or ()))
    with console.status(f"observing {len(region.inventory.hosts)} host(s)"):
        found = pipeline.make_plan(region, selection)
    if as_json:
        print_json(show.plan_json(found))
    else:
        show.print_plan(found)
    if exit_code and not found.empty:
        raise typer.Exit(3)
