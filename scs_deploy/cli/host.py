# SPDX-License-Identifier: Apache-2.0
"""`scs host network`: configures the network of hosts from the inventory's links."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from scs_deploy.base.plural import counted
from scs_deploy.cli._asking import confirm_or_exit
from scs_deploy.cli._options import (
    EnvironmentOption,
    JsonOption,
    Waiting,
    YesOption,
    command_line,
    console,
    print_json,
)
from scs_deploy.cli._plans import print_networks
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.spec.container import Impact

app = typer.Typer(help="Configure hosts themselves.", no_args_is_help=True)
network = typer.Typer(
    help="Bonds, VLANs, bridges, addresses and routes, from the links of the inventory.", no_args_is_help=True
)
app.add_typer(network, name="network")

Hosts = Annotated[list[str] | None, typer.Argument(metavar="HOST", help="Only these. Default: all hosts with links.")]


def register(parent: typer.Typer) -> None:
    """Add `scs host`."""
    parent.add_typer(app, name="host")


@network.command(epilog="Example: scs host network plan compute-3")
def plan(
    hosts: Hosts = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 when there are changes.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the changes to the hosts' network files, line by line. Changes nothing."""
    from scs_deploy.operations import host_network

    region = load_region(environment)
    with Waiting("reading the hosts' networks"):
        plans = host_network.plan(region, hosts or ())
    if as_json:
        print_json({"hosts": [p.model_dump(mode="json") for p in plans.values()]})
    else:
        print_networks(plans)
    if exit_code and not all(p.empty for p in plans.values()):
        raise typer.Exit(3)


@network.command(epilog="Example: scs host network apply compute-3 --allow network")
def apply(
    hosts: Hosts = None,
    allow: Annotated[
        list[Impact] | None,
        typer.Option(
            "--allow", metavar="IMPACT", help="Allow changes with this impact; `network` may disconnect a host briefly."
        ),
    ] = None,
    yes: YesOption = False,
    environment: EnvironmentOption = None,
) -> None:
    """Change the network of hosts, one host after the other.

    If the manager cannot open a new connection to a host after the change, the host restores its old network by itself.
    The command then fails and changes no further host.
    """
    from scs_deploy.operations.host_network import ChangeHostNetworks, NetworkRequest

    request = NetworkRequest(hosts=tuple(hosts or ()), allow=tuple(allow or ()))
    operation = ChangeHostNetworks(load_region(environment), request, command_line())
    with RunProgress() as progress:
        plans = operation.plan(progress)
    print_networks(plans)
    if not operation.total(plans):
        return
    operation.check(plans)
    changed = counted(operation.total(plans), "host")
    confirm_or_exit(f"change the network of {changed} of {operation.region.environment.name}?", yes)
    with RunProgress() as progress:
        done = operation.run(progress, plan=plans)
    for host, said in done.warnings.items():
        console.print(f"[yellow]{host}[/]: {escape('; '.join(said))}")
    console.print(
        f"[green]done[/]: {counted(len(done.hosts), 'host')} in run {done.run}, reachable over new connections"
    )
