# SPDX-License-Identifier: Apache-2.0
"""`scs host network`: the networks of hosts, from the inventory's links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scs_deploy.cli import _progress as show
from scs_deploy.cli._asking import ask, check_terminal
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json
from scs_deploy.cli._plans import print_networks
from scs_deploy.spec.container import Impact

if TYPE_CHECKING:
    pass

app = typer.Typer(help="What belongs to a host itself.", no_args_is_help=True)
network = typer.Typer(
    help="Bonds, VLANs, bridges, addresses and routes, from the links of the inventory.", no_args_is_help=True
)
app.add_typer(network, name="network")

Hosts = Annotated[list[str] | None, typer.Argument(metavar="HOST", help="Only these; default: all that have links.")]


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
    """Show what would change in the hosts' network files, line by line. Changes nothing."""
    from scs_deploy.operations import host_network as run
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    with errors.status("reading the hosts' networks"):
        plans = run.plan(region, hosts or ())
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
        typer.Option("--allow", help="Consent to an impact for this run: `network` may cut a host off for moments."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    environment: EnvironmentOption = None,
) -> None:
    """Change the hosts' networks, one host after the other.

    A host that the manager does not reach afterwards over a new connection puts its old network back by itself; then
    the command fails, and no further host is touched.
    """
    from scs_deploy.operations.host_network import ChangeHostNetworks, NetworkRequest
    from scs_deploy.region.region import Region

    check_terminal(yes)
    request = NetworkRequest(hosts=tuple(hosts or ()), allow=tuple(allow or ()))
    operation = ChangeHostNetworks(Region.load(environment), request)
    with show.RunProgress() as progress:
        plans = operation.plan(progress)
    print_networks(plans)
    if not operation.total(plans):
        return
    operation.check(plans)
    ask("apply?", yes)
    with show.RunProgress() as progress:
        done = operation.run(progress, plan=plans)
    for host, said in done.warnings.items():
        console.print(f"[yellow]{host}[/]: {escape('; '.join(said))}")
    console.print(f"[green]done[/]: {len(done.hosts)} host(s) in run {done.run}, reached again over new connections")
