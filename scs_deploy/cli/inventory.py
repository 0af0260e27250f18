# SPDX-License-Identifier: Apache-2.0
"""`scs inventory`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.tree import Tree

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json
from scs_deploy.cli._tables import Column, show_table

if TYPE_CHECKING:
    from scs_deploy.inventory.diff import Diff
    from scs_deploy.inventory.model import Host
    from scs_deploy.inventory.refresh import Comparison

FromOption = Annotated[
    str,
    typer.Option("--from", metavar="netbox|PATH", help="NetBox (netbox.yml), an Ansible inventory, or a synced file."),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="The hosts that a run goes by, and where they come from.", no_args_is_help=True)
    group.command(epilog="Example: scs inventory sync")(sync)
    group.command(epilog="Example: scs inventory diff --json")(diff)
    group.command(epilog="Example: scs inventory show control-1")(show)
    group.command(epilog="Example: scs inventory graph --svg region.svg")(graph)
    group.command(epilog="Example: scs inventory check")(check)
    group.command(epilog="Example: scs inventory writeback")(writeback)
    app.add_typer(group, name="inventory")


def sync(origin: FromOption = "netbox", environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Write the source's hosts into the environment (inventory.yml), and show what that changes.

    Refused as a whole when anything is wrong: all problems are listed and the old inventory stays.
    """
    from scs_deploy.inventory import refresh

    with _progress() as progress:
        done = refresh.sync(environment, origin, progress)
    if as_json:
        print_json(done.as_json())
        return
    _print_diff(done.diff)
    _print_source(done)
    console.print(f"{'written' if done.written else 'unchanged'}: {done.file}")
    if done.note:
        console.print(f"[yellow]note:[/] {escape(done.note)}")


def diff(
    origin: FromOption = "netbox",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 when there are differences.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a sync would change per host, and what that means for services. Writes nothing."""
    from scs_deploy.inventory import refresh

    with _progress() as progress:
        found = refresh.compare(environment, origin, progress)
    if as_json:
        print_json(found.as_json())
    else:
        _print_diff(found.diff)
        _print_source(found)
        for problem in found.problems:
            errors.print(f"[red]problem:[/] {escape(str(problem))}")
    if found.problems:
        raise RefusedError(f"{len(found.problems)} problem(s): a sync would be refused", "mend them in the source")
    if exit_code and not found.diff.empty:
        raise typer.Exit(3)


def show(
    host: Annotated[
        str | None, typer.Argument(metavar="HOST", help="One host in full; default: all, a line each.")
    ] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show hosts with their addresses, groups and settings."""
    from scs_deploy.region.region import Region

    inventory = Region.load(environment).inventory
    if host is not None:
        if host not in inventory.hosts:
            raise RefusedError(f"no host '{host}' in the inventory", f"there are: {', '.join(inventory.hosts)}")
        print_json(inventory.hosts[host].model_dump(mode="json"))
        return
    if as_json:
        print_json(inventory.model_dump(mode="json"))
        return
    networks = list(dict.fromkeys(n for h in inventory.hosts.values() for n in h.networks))
    columns = (
        Column("host", key=True), Column("ssh", key=True), *(Column(n, leave=i) for i, n in enumerate(networks, 1)),
        Column("groups"),
    )  # fmt: skip

    def on(host: Host, network: str) -> str:
        interface = host.networks.get(network)
        return f"{interface.address or '-'} ({interface.interface})" if interface else ""

    rows = [(h.name, h.address, *(on(h, n) for n in networks), ", ".join(h.groups)) for h in inventory.hosts.values()]
    show_table(console, columns, rows)


def graph(
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write an SVG picture instead.")] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Show groups, their hosts, and the services that run there."""
    from scs_deploy.inventory import graph as graphs
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    if svg is not None:
        try:
            svg.write_text(graphs.svg(region.environment.name, region.inventory, region.catalog), encoding="utf-8")
        except OSError as error:
            raise RefusedError(f"{svg}: cannot be written: {error.strerror}") from None
        console.print(f"written: {svg}")
        return
    tree = Tree(f"[bold]{region.environment.name}[/]")
    for group, hosts in region.inventory.groups.items():
        branch = tree.add(f"[bold]{group}[/]: {', '.join(hosts)}")
        for service_name, containers in graphs.services(region.catalog, group).items():
            branch.add(f"{service_name}: {', '.join(containers)}")
    console.print(tree)


def check(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Check the inventory in use: all problems at once, and the hash that runs go by."""
    from scs_deploy.inventory import refresh

    found = refresh.check(environment)
    if as_json:
        print_json({"hash": found.hash, "hosts": found.hosts, "problems": [str(p) for p in found.problems]})
    elif found.problems:
        for problem in found.problems:
            errors.print(f"[red]problem:[/] {escape(str(problem))}")
    else:
        console.print(f"{found.file}: {found.hosts} hosts, {found.hash}")
    if found.problems:
        raise RefusedError(f"{found.file}: {len(found.problems)} problem(s)")


def writeback(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Tell NetBox what was deployed: state, release and last successful run of each device.

    Writes what `writeback` in netbox.yml names, and only what differs; `scs apply` does it by itself where that is set.
    """
    from scs_deploy.operations import netbox_writeback as writing
    from scs_deploy.region.region import Region

    with _progress("telling NetBox", "devices") as progress:
        done = writing.report(Region.load(environment), progress)
    if as_json:
        print_json({"written": list(done.written), "current": done.current, "without_run": list(done.without_run)})
        return
    console.print(f"{len(done.written)} device(s) written, {done.current} were current")
    if done.without_run:
        console.print(f"[dim]no run yet: {escape(', '.join(done.without_run))}[/]")


@contextmanager
def _progress(what: str = "reading the source", unit: str = "requests") -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_source(found: Comparison) -> None:
    document = found.document
    console.print(
        f"source: {escape(document.source)}" + (f", NetBox {document.version}" if document.version else "")
        + (f", newest change {document.changed}" if document.changed else "")
        + (f", {found.requests} requests" if found.requests else "")
    )  # fmt: skip
    if found.left_out:
        listed = ", ".join(f"{count} by {reason}" for reason, count in found.left_out.items())
        console.print(f"no hosts: {escape(listed)}")
    console.print(f"hosts: {len(document.hosts)}, {document.hash}")


def _print_diff(found: Diff) -> None:
    if found.empty:
        console.print("no host differs")
    signs = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]"}
    for change in found.hosts:
        console.print(f"{signs[change.kind]} [bold]{escape(change.host)}[/]")
        for fact in change.facts:
            console.print(f"    {escape(fact)}")
        for effect in change.effects:
            console.print(f"    [cyan]=>[/] {escape(effect)}")
    for line in found.region:
        console.print(f"[cyan]=>[/] {escape(line)}")
