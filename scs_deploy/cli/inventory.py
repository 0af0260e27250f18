# SPDX-License-Identifier: Apache-2.0
"""`scs inventory`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.tree import Tree

from scs_deploy.cli.common import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.errors import RefusedError


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Show the hosts that a run goes by.", no_args_is_help=True)
    group.command(epilog="Example: scs inventory show control-1")(show)
    group.command(epilog="Example: scs inventory graph")(graph)
    app.add_typer(group, name="inventory")


def show(
    host: Annotated[
        str | None, typer.Argument(metavar="HOST", help="One host in full; default: all, a line each.")
    ] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show hosts with their addresses, groups and settings."""
    from scs_deploy import context

    inventory = context.load(environment).inventory
    if host is not None:
        if host not in inventory.hosts:
            raise RefusedError(f"no host '{host}' in the inventory", f"there are: {', '.join(inventory.hosts)}")
        print_json(inventory.hosts[host].model_dump(mode="json"))
        return
    if as_json:
        print_json(inventory.model_dump(mode="json"))
        return
    networks = list(dict.fromkeys(n for h in inventory.hosts.values() for n in h.networks))
    table = Table("host", "ssh", *networks, "groups", box=None, pad_edge=False, header_style="bold")
    for h in inventory.hosts.values():
        addresses = [
            f"{h.networks[n].address or '-'} ({h.networks[n].interface})" if n in h.networks else "" for n in networks
        ]
        table.add_row(h.name, h.address, *addresses, ", ".join(h.groups))
    console.print(table)


def graph(environment: EnvironmentOption = None) -> None:
    """Show groups, their hosts, and the services that run there."""
    from scs_deploy import context

    region = context.load(environment)
    tree = Tree(f"[bold]{region.environment.name}[/]")
    for group, hosts in region.inventory.groups.items():
        services: dict[str, list[str]] = {}
        for service in region.catalog.services.values():
            for name, container in service.containers.items():
                if (container.hosts or service.hosts) == group:
                    services.setdefault(service.name, []).append(name)
        branch = tree.add(f"[bold]{group}[/]: {', '.join(hosts)}")
        for service_name, containers in services.items():
            branch.add(f"{service_name}: {', '.join(containers)}")
    console.print(tree)
