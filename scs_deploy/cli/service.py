# SPDX-License-Identifier: Apache-2.0
"""`scs stop`, `scs start`, `scs restart`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scs_deploy.base.plural import counted
from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import EnvironmentOption, YesOption, command_line, console
from scs_deploy.cli._plans import print_plan
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli.apply import print_waiting
from scs_deploy.cli.plan import Allow, Hosts
from scs_deploy.plan.change import Kind

if TYPE_CHECKING:
    from scs_deploy.operations.restart import RestartRequest
    from scs_deploy.spec.container import Impact

Which = Annotated[list[str], typer.Argument(metavar="SERVICE|CONTAINER", help="Services or containers.")]


PlanOption = Annotated[bool, typer.Option("--plan", help="Show the containers and the impact; change nothing.")]

Verb = Literal[Kind.STOP, Kind.START, Kind.RESTART]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: scs stop nova_scheduler --host control-1")(stop)
    app.command(epilog="Example: scs start nova_scheduler")(start)
    app.command(epilog="Example: scs restart keystone")(restart)


def stop(
    names: Which, host: Hosts = None, allow: Allow = None, plan: PlanOption = False, yes: YesOption = False,
    environment: EnvironmentOption = None,
) -> None:  # fmt: skip
    """Stop containers. They stay stopped, also after a reboot, until `scs start` or `scs apply`."""
    _act(_request(Kind.STOP, names, host, allow), plan, yes, environment)


def start(
    names: Which, host: Hosts = None, allow: Allow = None, plan: PlanOption = False,
    environment: EnvironmentOption = None,
) -> None:  # fmt: skip
    """Start stopped containers, and wait until they are healthy."""
    _act(_request(Kind.START, names, host, allow), plan, True, environment)


def restart(
    names: Which, host: Hosts = None, allow: Allow = None, plan: PlanOption = False, yes: YesOption = False,
    environment: EnvironmentOption = None,
) -> None:  # fmt: skip
    """Restart containers, one host after the other, and wait until they are healthy."""
    _act(_request(Kind.RESTART, names, host, allow), plan, yes, environment)


def _request(kind: Verb, names: list[str], host: list[str] | None, allow: list[Impact] | None) -> RestartRequest:
    from scs_deploy.operations.restart import RestartRequest

    return RestartRequest(kind=kind, services=tuple(names), hosts=tuple(host or ()), allow=tuple(allow or ()))


def _act(request: RestartRequest, plan: bool, yes: bool, environment: str | None) -> None:
    from scs_deploy.operations.restart import Restart

    kind = request.kind
    region = load_region(environment)
    operation = Restart(region, request, command_line())
    # refuses what cannot be done before the operator is asked
    made = operation.plan()
    if plan:
        print_plan(made)
        return
    check_terminal(yes)
    with RunProgress() as progress:
        done = operation.run(progress, plan_confirmation(region, progress, kind.value, yes))
    console.print(f"[green]done[/]: {kind.value} of {counted(done.changes, 'container')} in run {done.run}")
    print_waiting(done.unreachable)
