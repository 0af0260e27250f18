# SPDX-License-Identifier: Apache-2.0
"""Shows, confirms and runs a rotation, for both `rotate` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import command_line, console
from scs_deploy.cli._plans import print_steps
from scs_deploy.cli._progress import RunProgress

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment
    from scs_deploy.operations.rotate.rotation import RotateRequest, RotationResult
    from scs_deploy.region.region import Region

PlanOption = Annotated[bool, typer.Option("--plan", help="Show the steps and which are done; change nothing.")]


def rotate(region: Region, request: RotateRequest, plan: bool, yes: bool) -> None:
    """Show the steps, and carry them out unless only the plan is wanted.

    :raises RefusedError: confirmation is required, but no terminal is attached
    """
    from scs_deploy.operations.rotate.rotation import RunRotation

    operation = RunRotation(region, request, command_line())
    if plan:
        print_steps(operation.plan())
        return
    with RunProgress() as progress:

        def confirm(shown: object) -> bool:
            check_terminal(yes)
            return plan_confirmation(region, progress, "rotate", yes)(shown)

        done = operation.run(progress, confirm)
    if done.waits_for:
        print_waiting(region.environment, operation.command, done)
    else:
        console.print("[green]rotated[/]")


def print_waiting(environment: Environment, command: str, done: RotationResult) -> None:
    """Print what the operator must do, and the command that continues the rotation."""
    console.print(f"[yellow]waiting[/] until {escape(done.waits_for)} ({environment.ca_file})")
    console.print(f"then run: {command} --users-trust")
