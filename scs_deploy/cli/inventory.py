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
from scs_deploy.base.plural import counted
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json
from scs_deploy.cli._region import load_for_reading, load_region
from scs_deploy.cli._tables import Column, show_table

if TYPE_CHECKING:
    from scs_deploy.inventory.diff import Diff
    from scs_deploy.inventory.model import Host
    from scs_deploy.inventory.refresh import Comparison

FromOption = Annotated[
    str,
    typer.Option(
        "--from", metavar="netbox|PATH", help="Source: NetBox (see netbox.yml), an Ansible inventory, or a synced file."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Sync, compare and show the inventory that runs use.", no_args_is_help=True)
    group.command(epilog="Example: scs inventory sync")(sync)
    group.command(epilog="Example: scs inventory diff --json")(diff)
    group.command(epilog="Example: scs inventory show control-1")(show)
    group.command(epilog="Example: scs inventory graph --svg region.svg")(graph)
    group.command(epilog="Example: scs inventory check")(check)
    group.command(epilog="Example: scs inventory writeback")(writeback)
    app.add_typer(group, name="inventory")


def sync(origin: FromOption = "netbox", environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Write the source's hosts to inventory.yml of the environment, and show what changes.

    If anything is wrong, lists all problems and keeps the old inventory.
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
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 if there are differences.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a sync would change on each host, and its effect on services. Writes nothing."""
    from scs_deploy.inventory import refresh

    with _progress() as progress:
        comparison = refresh.compare(environment, origin, progress)
    if as_json:
        print_json(comparison.as_json())
    else:
        _print_diff(comparison.diff)
        _print_source(comparison)
        for problem in comparison.problems:
            errors.print(f"[red]problem:[/] {escape(str(problem))}")
    if comparison.problems:
        raise RefusedError(f"{counted(len(comparison.problems), 'problem')}: a sync would be refused", "fix the source")
    if exit_code and not comparison.diff.empty:
        raise typer.Exit(3)


def show(
    host: Annotated[
        str | None, typer.Argument(metavar="HOST", help="Show this host in full. Default: all hosts, one line each.")
    ] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show hosts with their addresses, groups and settings."""
    inventory = load_for_reading(environment).inventory
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
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write an SVG image to this file instead.")
    ] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Show groups, their hosts, and the services that run there."""
    from scs_deploy.inventory.graph import services as services_of_group
    from scs_deploy.inventory.graph import svg as draw_svg

    region = load_for_reading(environment)
    if svg is not None:
        try:
            svg.write_text(draw_svg(region.environment.name, region.inventory, region.catalog), encoding="utf-8")
        except OSError as error:
            raise RefusedError(f"{svg}: cannot be written: {error.strerror}") from None
        console.print(f"wrote {svg}")
        return
    tree = Tree(f"[bold]{region.environment.name}[/]")
    for group, hosts in region.inventory.groups.items():
        branch = tree.add(f"[bold]{group}[/]: {', '.join(hosts)}")
        for service_name, containers in services_of_group(region.catalog, group).items():
            branch.add(f"{service_name}: {', '.join(containers)}")
    console.print(tree)


def check(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Check the current inventory: list all problems, and print its hash."""
    from scs_deploy.inventory import refresh

    result = refresh.check(environment)
    if as_json:
        print_json({"hash": result.hash, "hosts": result.hosts, "problems": [str(p) for p in result.problems]})
    elif result.problems:
        for problem in result.problems:
            errors.print(f"[red]problem:[/] {escape(str(problem))}")
    else:
        console.print(f"{result.file}: {counted(result.hosts, 'host')}, {result.hash}")
    if result.problems:
        raise RefusedError(f"{result.file}: {counted(len(result.problems), 'problem')}")


def writeback(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Write the state, release and last successful run of each device to NetBox.

    Writes the fields that `writeback` in netbox.yml names, where they differ. If enabled there, `scs apply` does the
    same after each run.
    """
    from scs_deploy.operations import netbox_writeback

    with _progress("updating NetBox", "devices") as progress:
        done = netbox_writeback.report(load_region(environment), progress)
    if as_json:
        print_json({"written": list(done.written), "current": done.current, "without_run": list(done.without_run)})
        return
    console.print(f"{counted(len(done.written), 'device')} updated, {done.current} already current")
    if done.without_run:
        console.print(f"[dim]no run yet: {escape(', '.join(done.without_run))}[/]")


@contextmanager
def _progress(what: str = "reading the source", unit: str = "requests") -> Iterator[Callable[[int, int], None]]:
    if not errors.is_terminal:
        with Waiting(what) as waiting:
            yield lambda done, total: waiting.update(f"{what}, {done} of {total} {unit}")
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_source(comparison: Comparison) -> None:
    document = comparison.document
    console.print(
        f"source: {escape(document.source)}" + (f", NetBox {document.version}" if document.version else "")
        + (f", newest change {document.changed}" if document.changed else "")
        + (f", {counted(comparison.requests, 'request')}" if comparison.requests else "")
    )  # fmt: skip
    if comparison.left_out:
        listed = ", ".join(f"{count} by {reason}" for reason, count in comparison.left_out.items())
        console.print(f"devices left out: {escape(listed)}")
    console.print(f"hosts: {len(document.hosts)}, {document.hash}")


def _print_diff(diff: Diff) -> None:
    if diff.empty:
        console.print("no differences")
    signs = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]"}
    for change in diff.hosts:
        console.print(f"{signs[change.kind]} [bold]{escape(change.host)}[/]")
        for fact in change.facts:
            console.print(f"    {escape(fact)}")
        for effect in change.effects:
            console.print(f"    [cyan]=>[/] {escape(effect)}")
    for line in diff.region:
        console.print(f"[cyan]=>[/] {escape(line)}")
