# SPDX-License-Identifier: Apache-2.0
"""`scs plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _plans as plans
from scs_deploy.cli import _progress as show
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.spec.container import Impact

if TYPE_CHECKING:
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection

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
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan; `scs apply FILE` applies exactly it.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no host: render what every host shall have, and sum it up.")
    ] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an apply would change, and why. Changes nothing."""
    from scs_deploy.engine.observe import make_plan
    from scs_deploy.operations import saved_plan
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection

    if offline and (exit_code or allow or out):
        raise RefusedError("--offline compares with no host", "leave out --exit-code, --allow and --out")
    region = Region.load(environment)
    selection = Selection(tuple(names or ()), tuple(host or ()), tuple(allow or ()))
    if offline:
        _offline(region, selection, as_json)
        return
    with console.status(f"observing {len(region.inventory.hosts)} host(s)"):
        found = make_plan(region, selection)
    if out:
        saved_plan.save(out, region, selection, found)
    if as_json:
        print_json({**plans.plan_json(found), "inventory": region.inventory.hash})
    else:
        plans.print_plan(found)
        plans.print_inventory(region.inventory)
        if out:
            console.print(f"saved; apply it with `scs apply {out}`", markup=False)
    if exit_code and not found.empty:
        raise typer.Exit(3)


def _offline(region: Region, selection: Selection, as_json: bool) -> None:
    from scs_deploy.desired import digest

    with show.RunProgress() as progress:
        progress.expect(len(selection.hosts or region.inventory.hosts))
        found = digest.render(region, selection, progress.advance)
    if as_json:
        print_json({"inventory": region.inventory.hash, "hosts": [h.model_dump(mode="json") for h in found]})
        return
    table = Table("host", "containers", "files", "jobs", "KiB", "hash", box=None, pad_edge=False, header_style="bold")
    for host in found:
        table.add_row(
            host.host, str(len(host.containers)), str(len(host.files)), str(len(host.jobs)),
            str(-(-host.size // 1024)), host.hash[:23],
        )  # fmt: skip
    console.print(table)
    console.print(f"{len(found)} host(s), {sum(len(h.files) for h in found)} files; no host was asked")
    plans.print_inventory(region.inventory)
