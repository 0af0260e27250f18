# SPDX-License-Identifier: Apache-2.0
"""`scs storage`: the region's Ceph, its disks and pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.plural import counted
from scs_deploy.base.sizes import size
from scs_deploy.cli._asking import check_terminal, confirm_or_exit
from scs_deploy.cli._options import (
    EnvironmentOption,
    JsonOption,
    Waiting,
    YesOption,
    command_line,
    console,
    errors,
    print_json,
)
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_for_reading, load_region
from scs_deploy.cli._tables import Cell, Column, show_table

if TYPE_CHECKING:
    from scs_deploy.operations.base import Operation
    from scs_deploy.operations.storage.images_plan import ImagesPlan
    from scs_deploy.operations.storage.osd_plan import OsdPlan, Verb
    from scs_deploy.shared.ceph.desired import Desired
    from scs_deploy.shared.ceph.disks import Disk
    from scs_deploy.shared.ceph.observed import Observed, ObservedPool
    from scs_deploy.shared.ceph.status import Status

P = TypeVar("P")
D = TypeVar("D")

app = typer.Typer(help="Show and change the region's storage: health, disks, pools, images.", no_args_is_help=True)
osd = typer.Typer(help="Add, replace and remove disks while the region works.", no_args_is_help=True)
app.add_typer(osd, name="osd")

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="Name in the inventory.")]
ImagesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Ids or names of images; default: all.")
]
DiskArgument = Annotated[str, typer.Argument(metavar="DISK", help="Name of one of its disks in the inventory.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Show the steps; change nothing.")]
EraseOption = Annotated[bool, typer.Option("--erase", help="Erase what is on the disk.")]

COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}

DISK_COLUMNS = (
    Column("host", key=True),
    Column("disk", key=True),
    Column("osd", key=True, justify="right"),
    Column("state", key=True),
    Column("class", leave=2),
    Column("size", leave=1, justify="right"),
    Column("used", justify="right"),
    Column("placement groups", leave=3, justify="right"),
    Column("path", leave=4),
)
POOL_COLUMNS = (
    Column("pool", key=True),
    Column("of", leave=1),
    Column("kept", key=True),
    Column("rule", leave=2),
    Column("objects", leave=3, justify="right"),
    Column("stored", justify="right"),
    Column("left", justify="right"),
    Column("differs"),
)


def register(parent: typer.Typer) -> None:
    """Add `scs storage`."""
    parent.add_typer(app, name="storage")


@app.command(epilog="Example: scs storage status --json")
def status(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Show the health of Ceph and what it means, in words. Exits 1 if something needs attention."""
    from scs_deploy.operations.storage import look

    region = load_for_reading(environment)
    with Waiting("asking the monitors"):
        found = look.health(region)
    if as_json:
        print_json({**found.model_dump(mode="json"), "well": found.well, "unclean": found.unclean})
    else:
        for line in lines(found):
            console.print(line, soft_wrap=True)
    if not found.well:
        raise typer.Exit(1)


@app.command(epilog="Example: scs storage disks --json")
def disks(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Show every disk with its OSD, its state, size and use. Exits 1 if one does not hold data as it should."""
    from scs_deploy.operations.storage import look

    region = load_for_reading(environment)
    with Waiting("asking hosts and monitors"):
        found = look.disks_of(region)
    if as_json:
        print_json([d.model_dump(mode="json") for d in found])
    else:
        show_table(console, DISK_COLUMNS, map(_disk, found))
    if not all(d.works for d in found):
        raise typer.Exit(1)


@app.command(epilog="Example: scs storage pools --json")
def pools(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Show every pool: its service, how it is kept, what is in it, and how it differs from what is declared.

    Pools that nobody declares are listed, too. scs never changes or removes them.
    """
    from scs_deploy.operations.storage import look

    region = load_for_reading(environment)
    with Waiting("asking the monitors"):
        wanted, found = look.pools(region)
    rows = list(pool_rows(wanted, found))
    if as_json:
        print_json(rows)
        return
    show_table(console, POOL_COLUMNS, map(_pool, rows))


@app.command(
    "migrate-images", epilog="Example: scs storage migrate-images --plan; scs storage migrate-images debian-13"
)
def migrate_images(
    images: ImagesArgument = None,
    plan: PlanOption = False,
    yes: YesOption = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move images from files into Ceph while they are used. Their ids and checksums stay the same.

    Each copy is read back from Ceph and compared before the files are removed. An image that cannot be moved stays
    where it is, and the others are moved; exits 1 then. Safe to run again: goes on where it stopped.
    """
    from scs_deploy.operations.storage.images import ImagesRequest, MigrateImages

    operation = MigrateImages(load_region(environment), ImagesRequest(images=tuple(images or ())), command_line())

    def question(made: ImagesPlan) -> str:
        return f"move {counted(len(made.moves), 'image')} of {operation.region.environment.name} into Ceph?"

    done = _carry_out(operation, _show_images, question, plan, yes, as_json)
    if done is None:
        return
    if as_json:
        left = {h: list(own) for h, own in done.left.items()}
        print_json({**done.plan.model_dump(mode="json"), "run": done.run, "moved": list(done.moved), "left": left})
    elif done.run:
        console.print(f"[green]done[/]: {counted(len(done.moved), 'image')} moved into Ceph in run {done.run}")
        for host, own in done.left.items():
            text = f"{host} still has files of {counted(len(own), 'image')}: it removes them once it works again"
            console.print(f"  [cyan]note[/]    {escape(text)}", soft_wrap=True)
    else:
        _show_images(done.plan, as_json)
    if done.plan.stays:
        raise typer.Exit(1)


def _show_images(made: ImagesPlan, as_json: bool) -> None:
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    if not (made.moves or made.stays or made.refusals):
        console.print(f"[green]nothing to do[/]: {counted(made.done, 'image')} in Ceph, none in files")
    for number, move in enumerate(made.moves, 1):
        what = {"copy": "", "wait": ", which is being copied already", "check": ", which is copied already"}[move.todo]
        console.print(f"{number:>3}. {escape(move.title)}{what}", soft_wrap=True)
    if made.moves:
        console.print(f"{size(made.bytes)} to copy; {counted(made.done, 'image')} in Ceph already")
    for stay in made.stays:
        console.print(f"  [yellow]stays[/]   {escape(stay.image.title)}: {escape(stay.reason)}", soft_wrap=True)


@osd.command(epilog="Example: scs storage osd add storage-1 sdc --plan")
def add(
    host: HostArgument,
    disk: DiskArgument,
    erase: EraseOption = False,
    plan: PlanOption = False,
    yes: YesOption = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an OSD on a disk of the inventory, and wait until data has moved to it."""
    _run("add", host, disk, erase, plan, yes, environment, as_json)


@osd.command(epilog="Example: scs storage osd replace storage-1 sdc --yes")
def replace(
    host: HostArgument,
    disk: DiskArgument,
    erase: EraseOption = False,
    plan: PlanOption = False,
    yes: YesOption = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a failed or ageing disk: its OSD leaves, and a new one is made on the disk that is in its place.

    A disk that works is emptied first, if the other disks have room. Refused if data would be lost. Safe to run again.
    """
    _run("replace", host, disk, erase, plan, yes, environment, as_json)


@osd.command(epilog="Example: scs storage osd remove storage-1 sdc --plan")
def remove(
    host: HostArgument,
    disk: DiskArgument,
    erase: EraseOption = False,
    plan: PlanOption = False,
    yes: YesOption = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move all data off a disk and remove its OSD. Refused if too few disks, or too little room, would remain."""
    _run("remove", host, disk, erase, plan, yes, environment, as_json)


def _run(
    verb: Verb, host: str, disk: str, erase: bool, plan: bool, yes: bool, environment: str | None, as_json: bool
) -> None:
    from scs_deploy.operations.storage.osd import ChangeOsd, OsdRequest

    request = OsdRequest(verb=verb, host=host, disk=disk, erase=erase)
    operation = ChangeOsd(load_region(environment), request, command_line())
    question = f"{verb} disk {disk} of {host} in {operation.region.environment.name}?"
    done = _carry_out(operation, _show, lambda _: question, plan, yes, as_json)
    if done is None:
        return
    if as_json:
        print_json({**done.plan.model_dump(mode="json"), "run": done.run})
    elif done.run:
        console.print(f"[green]done[/]: {verb} {disk} of {host} in run {done.run}")
        for note in done.plan.notes if verb == "remove" else ():
            console.print(f"  {escape(note)}", soft_wrap=True)
    else:
        _show(done.plan, as_json)


def _carry_out(
    operation: Operation[Any, P, D], show: Callable[[P, bool], None], question: Callable[[P], str],
    plan: bool, yes: bool, as_json: bool,
) -> D | None:  # fmt: skip
    """Show what would be done, ask, and do it; None: only the plan was asked for.

    :param show: takes the plan, and whether it is shown as JSON
    """
    if not plan:
        check_terminal(yes, as_json)
    with RunProgress(errors if as_json else console) as progress:
        if plan:
            made = operation.plan(progress)
            show(made, as_json)
            operation.check(made)
            return None

        def confirm(made: P) -> bool:
            with progress.paused():
                if not as_json:
                    show(made, as_json)
                confirm_or_exit(question(made), yes)
            return True

        return operation.run(progress, confirm)


def _show(made: OsdPlan, as_json: bool) -> None:
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    if not made.steps and not made.refusals:
        console.print(f"[green]nothing to do[/]: {made.disk} of {made.host}")
    for number, step in enumerate(made.steps, 1):
        console.print(f"{number:>3}. {escape(step.title)}", soft_wrap=True)
    for note in made.notes:
        console.print(f"  [cyan]note[/]    {escape(note)}", soft_wrap=True)


# text


def lines(found: Status) -> Iterator[str]:
    """The status in words, with markup."""
    said = "well" if found.well else found.health
    yield f"[{COLOURS.get('ok' if found.well else found.health, 'yellow')}]{said}[/]"
    if found.fill:
        yield f"[{'bold red' if found.fill.refuses_moves else 'yellow'}]{escape(found.fill.line)}[/]"
    for check in found.checks:
        colour = COLOURS.get(check.severity, "yellow") if check.counts else "dim"
        yield f"  [{colour}]{escape(check.summary)}[/] ({check.name})"
        if check.meaning:
            yield f"    {escape(check.meaning)}"
        for detail in check.details[:DETAILS] if check.counts else ():
            yield f"    [dim]{escape(detail)}[/]"
        if check.counts and len(check.details) > DETAILS:
            yield f"    [dim]and {len(check.details) - DETAILS} more: --json has all[/]"
    yield from _daemons(found)
    yield from _data(found)
    for module, why in found.broken_modules.items():
        yield f"manager's module {escape(module)} cannot be used: {escape(why)}"


DETAILS = 5
"""Details of a check that are shown."""


def _daemons(found: Status) -> Iterator[str]:
    missing = sorted(set(found.monitors) - set(found.quorum))
    lost = f", [red]missing: {', '.join(missing)}[/]" if missing else ""
    yield f"monitors: {len(found.quorum)} of {len(found.monitors)} in the quorum{lost}"
    standby = f", {found.standby_managers} standing by" if found.standby_managers else ""
    yield f"manager: active{standby}" if found.manager else "manager: [red]none is active[/]"
    down = f", [red]down: {', '.join(map(str, found.down))}[/]" if found.down else ""
    out = f", out: {', '.join(map(str, found.out))}" if found.out else ""
    yield f"OSDs: {found.up} of {found.osds} up, {found.inside} in{down}{out}"
    if found.flags:
        yield f"[yellow]flags: {', '.join(found.flags)}[/]"


def _data(found: Status) -> Iterator[str]:
    share = 100 * found.bytes_used / found.bytes_total if found.bytes_total else 0
    yield (
        f"capacity: {size(found.bytes_used)} of {size(found.bytes_total)} used ({share:.0f} %), "
        f"{counted(found.objects, 'object')} in {counted(found.pools, 'pool')}"
    )
    states = ", ".join(f"{n} {s}" for s, n in sorted(found.placement_groups.items(), key=lambda x: -x[1]))
    yield f"placement groups: {states or 'none'}"
    left = [(found.degraded, "to be made anew"), (found.misplaced, "to move"), (found.unfound, "not found")]
    if said := ", ".join(f"{n} {what}" for n, what in left if n):
        speed = f", {size(found.recovering_bytes)}/s" if found.recovering_bytes else ""
        yield f"copies of objects: {said}{speed}"
    for event in found.progress:
        yield f"  {event.percent} %: {escape(event.what)}"


def _disk(row: Disk) -> tuple[Cell, ...]:
    share = f"{100 * row.used / row.size:.0f} %" if row.size else ""
    return (
        row.host, row.disk or "not in the inventory", "" if row.osd is None else str(row.osd),
        Text(row.state, "green" if row.works else "red"), row.device_class, size(row.size) if row.size else "", share,
        str(row.placement_groups), row.path,
    )  # fmt: skip


def pool_rows(wanted: Desired, found: Observed) -> Iterator[dict[str, Any]]:
    """Every pool that is there or declared, by name."""
    from scs_deploy.shared.ceph.differences import pool_reason

    for name in sorted({*wanted.pools, *found.pools}):
        declared, there = wanted.pools.get(name), found.pools.get(name)
        differs = pool_reason(declared, there) if declared else _undeclared(there)
        yield {
            "pool": name,
            "service": declared.service if declared else there.service if there else "",
            "declared": declared is not None,
            "kept": _kept(there) if there else "",
            "rule": there.rule if there else "",
            "objects": there.objects if there else 0,
            "stored": there.stored if there else 0,
            "used": there.used if there else 0,
            "available": there.available if there else 0,
            "placement_groups": there.placement_groups if there else 0,
            "differs": differs,
        }


def _undeclared(there: ObservedPool | None) -> str:
    if there is None or "mgr" in there.applications:
        return ""
    return f"service {there.service} is gone" if there.service else "nobody declares it"


def _kept(there: ObservedPool) -> str:
    return f"erasure code {there.erasure}" if there.erasure else f"{there.size} copies"


def _pool(row: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        row["pool"], row["service"], row["kept"], row["rule"], str(row["objects"]), size(row["stored"]),
        size(row["available"]), Text(row["differs"], "yellow"),
    )  # fmt: skip
