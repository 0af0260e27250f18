# SPDX-License-Identifier: Apache-2.0
"""What the two `rotate` commands share: the steps are shown, agreed to, and carried out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scs_deploy.cli import _progress as show
from scs_deploy.cli._asking import ask
from scs_deploy.cli._options import console
from scs_deploy.cli.apply import confirming

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment
    from scs_deploy.operations.apply import Applied
    from scs_deploy.operations.rotate.roll import Engine
    from scs_deploy.operations.rotate.state import Rotation, Step
    from scs_deploy.prober.watch import Options
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection
    from scs_deploy.spec.container import Impact

PlanOption = Annotated[bool, typer.Option("--plan", help="Show the steps, and which of them are done; change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def engine(environment: str, allow: list[Impact] | None, probe: Options, yes: bool, command: str) -> Engine:
    """How the steps have a region changed: as `scs apply` does, under the rotation's name."""
    from scs_deploy.operations.apply import Apply, ApplyRequest
    from scs_deploy.operations.rotate.roll import Engine

    def apply(region: Region, selection: Selection) -> Applied:
        with show.RunProgress() as progress:
            confirm = confirming(region, progress, "go on?", yes)
            request = ApplyRequest(
                services=selection.services, hosts=selection.hosts, allow=selection.allow, probe=probe
            )
            return Apply(region, request, command).run(progress, confirm)

    return Engine(environment, apply, tuple(allow or ()))


def run(
    environment: Environment,
    rotation: Rotation,
    steps: Sequence[Step],
    plan: bool,
    yes: bool,
    agreed: frozenset[str] = frozenset(),
) -> None:
    """Show the steps, and carry them out unless only the plan is wanted.

    :param agreed: keys of steps whose question the operator has answered
    :raises RefusedError: nobody is there to ask
    """
    from scs_deploy.operations.rotate import state

    for number, step in enumerate(steps, 1):
        done = f" [dim]done {rotation.done[step.key]}[/]" if step.key in rotation.done else ""
        console.print(f"{number:>3}. {escape(step.says)}{done}")
        if step.ask and not done:
            console.print(f"     [yellow]before[/]: {escape(step.ask)}")
    if plan:
        return
    ask("rotate?", yes)
    waits = state.carry_out(environment, rotation, steps, lambda text: console.print(escape(text)), agreed)
    if waits is not None:
        console.print(f"[yellow]waits[/] until {escape(waits.ask)} ({environment.ca_file})")
        console.print(f"then: {rotation.command} --users-trust")
        return
    console.print("[green]rotated[/]")
