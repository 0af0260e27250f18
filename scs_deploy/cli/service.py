# SPDX-License-Identifier: Apache-2.0
"""`scs stop`, `scs start`, `scs restart`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from scs_deploy.base.plural import counted
from scs_deploy.cli._options import EnvironmentOption, console
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli.plan import Allow, Hosts
from scs_deploy.plan.change import Kind

Which = Annotated[list[str], typer.Argument(metavar="SERVICE|CONTAINER", help="Services or containers.")]


Verb = Literal[Kind.STOP, Kind.START, Kind.RESTART]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: scs stop nova_scheduler --host control-1")(stop)
    app.command(epilog="Example: scs start nova_scheduler")(start)
    app.command(epilog="Example: scs restart keystone")(restart)


def stop(names: Which, host: Hosts = None, allow: Allow = None, environment: EnvironmentOption = None) -> None:
    """Stop containers. They stay stopped, also after a reboot, until `scs start` or `scs apply`."""
    _act(Kind.STOP, names, host, allow, environment)


def start(names: Which, host: Hosts = None, allow: Allow = None, environment: EnvironmentOption = None) -> None:
    """Start stopped containers, and wait until they are healthy."""
    _act(Kind.START, names, host, allow, environment)


def restart(names: Which, host: Hosts = None, allow: Allow = None, environment: EnvironmentOption = None) -> None:
    """Restart containers, one host after the other, and wait until they are healthy."""
    _act(Kind.RESTART, names, host, allow, environment)


def _act(kind: Verb, names: list[str], host: list[str] | None, allow: Allow, environment: str | None) -> None:
    from scs_deploy.operations.restart import Restart, RestartRequest
    from scs_deploy.region.region import Region

    request = RestartRequest(
        kind=kind, services=tuple(names), hosts=tuple(host or ()), allow=tuple(allow or ())
    )  # fmt: skip
    command = f"scs {kind.value} {' '.join(names)}"
    with RunProgress() as progress:
        done = Restart(Region.load(environment), request, command).run(progress)
    console.print(f"[green]done[/]: {kind.value} of {counted(done.changes, 'container')} in run {done.run}")
