# SPDX-License-Identifier: Apache-2.0
"""`scs plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _plans as plans
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.spec.container import Impact

if TYPE_CHECKING:
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection

Names = Annotated[
    list[str] | None, typer.Argument(metavar="SERVICE|LAYER|CONTAINER", help="Only these. Default: everything.")
]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="Only this host; can be repeated.")]
Allow = Annotated[
    list[Impact] | None,
    typer.Option(
        "--allow",
        metavar="IMPACT",
        help="Allow changes with this impact; `data-plane` restarts components that carry guest traffic.",
    ),
]

DATA_LOSS = "data-loss:"
"""Begins a consent that names a pool."""


def _known(texts: list[str] | None) -> list[str] | None:
    """Refuse a consent that means nothing, as a choice does."""
    for text in texts or ():
        if text not in list(Impact) and not (text.startswith(DATA_LOSS) and text != DATA_LOSS):
            there = ", ".join(f"'{i}'" for i in (*Impact, f"{DATA_LOSS}POOL"))
            raise typer.BadParameter(f"'{text}' is not one of {there}.")
    return texts


Consents = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        callback=_known,
        metavar="IMPACT",
        help="Allow changes with this impact; `data-plane` restarts components that carry guest traffic, and "
        "`data-loss:POOL` accepts that data of this pool of Ceph may be lost.",
    ),
]

OFFLINE_COLUMNS = (
    Column("host", key=True),
    Column("containers", justify="right"),
    Column("files", justify="right"),
    Column("jobs", justify="right"),
    Column("KiB", leave=1, justify="right"),
    Column("hash", key=True, leave=2),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs plan nova --host compute-1")(plan)


def plan(
    names: Names = None,
    host: Hosts = None,
    allow: Consents = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 if there are changes.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan to this file, for `scs apply FILE`.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Render the desired state of each host and summarize it, without contacting hosts."
        ),
    ] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `scs apply` would change, and why. Changes nothing."""
    from scs_deploy.engine.observe import make_plan
    from scs_deploy.operations import saved_plan
    from scs_deploy.operations.removed import stays_of
    from scs_deploy.region import options
    from scs_deploy.region.selection import Selection

    if offline and (exit_code or allow or out):
        raise RefusedError("--offline cannot be combined with --exit-code, --allow or --out", "leave out --offline")
    region = load_region(environment)
    for warning in options.check(region):
        errors.print(f"warning: {warning}", markup=False, soft_wrap=True)
    selection = Selection(tuple(names or ()), tuple(host or ()), *consents(allow))
    if offline:
        _offline(region, selection, as_json)
        return
    with Waiting(f"observing {counted(len(region.inventory.hosts), 'host')}"):
        made = make_plan(region, selection)
    if out:
        saved_plan.save(out, region, selection, made)
    stays = stays_of(region, made)
    if as_json:
        more = {"stays": [r.model_dump(mode="json") for r in stays]} if stays else {}
        print_json({**plans.plan_json(made), "inventory": region.inventory.hash, **more})
    else:
        plans.print_plan(made)
        for each in stays:
            console.print(f"of {each.service} stays: {each}", markup=False, soft_wrap=True)
        plans.print_inventory(region.inventory)
        if out:
            console.print(f"plan saved; apply it with `scs apply {out}`", markup=False)
    if exit_code and not made.empty:
        raise typer.Exit(3)


def consents(allow: list[str] | None) -> tuple[tuple[Impact, ...], tuple[str, ...]]:
    """The impacts, and the pools whose data may be lost, of `--allow`."""
    pools = tuple(t.removeprefix(DATA_LOSS) for t in allow or () if t.startswith(DATA_LOSS))
    return tuple(Impact(t) for t in allow or () if not t.startswith(DATA_LOSS)), pools


def _offline(region: Region, selection: Selection, as_json: bool) -> None:
    from scs_deploy.desired import digest

    with RunProgress() as progress:
        progress.expect(len(selection.hosts or region.inventory.hosts))
        hosts = digest.render(region, selection, progress.advance)
    if as_json:
        print_json({"inventory": region.inventory.hash, "hosts": [h.model_dump(mode="json") for h in hosts]})
        return
    rows = [
        (h.host, str(len(h.containers)), str(len(h.files)), str(len(h.jobs)), str(-(-h.size // 1024)), h.hash[:23])
        for h in hosts
    ]
    show_table(console, OFFLINE_COLUMNS, rows)
    files = counted(sum(len(h.files) for h in hosts), "file")
    console.print(f"{counted(len(hosts), 'host')}, {files}; no host was contacted")
    plans.print_inventory(region.inventory)
