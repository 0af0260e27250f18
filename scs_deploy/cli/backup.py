# SPDX-License-Identifier: Apache-2.0
"""`scs backup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli._asking import ask, check_terminal
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json
from scs_deploy.cli._progress import RunProgress

if TYPE_CHECKING:
    from scs_deploy.operations.backup.manifest import Manifest
    from scs_deploy.operations.backup.restore_plan import RestorePlan

OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="PART", help="This part, or this service's; may be repeated.")
]
BackupArgument = Annotated[
    str, typer.Argument(metavar="[BACKUP]", help="Its id, as in `scs backup list`. Default: the last one.")
]

IdentityOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, metavar="FILE", help="An age secret key, instead of the vault's."),
]

commands = typer.Typer(
    no_args_is_help=True, help="Keep copies of databases, keys and the region's description; check and restore them."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="backup")


@commands.command(epilog="Example: scs backup create --full")
def create(
    full: Annotated[bool, typer.Option("--full", help="Copy the whole database, not what changed.")] = False,
    only: OnlyOption = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a backup, encrypted, and remove those that are too old. The region goes on working meanwhile.

    The database is copied from a member that does not write. A copy goes on from the one before when it can.
    """
    from scs_deploy.operations.backup.create import BackupRequest, CreateBackup
    from scs_deploy.operations.backup.stream import mebibytes
    from scs_deploy.region.region import Region

    request = BackupRequest(full=full, only=tuple(only or ()))
    with RunProgress(errors if as_json else console) as progress:
        done = CreateBackup(Region.load(environment), request).run(progress)
    made = done.backup
    if as_json:
        print_json({**_row(made), "removed": list(done.removed)})
    else:
        console.print(f"[green]done[/]: backup {made.id}, {mebibytes(made.size)} in {made.seconds:.0f} s")


@commands.command("list", epilog="Example: scs backup list --json")
def list_(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """List all backups: when, what, how large, and what a copy of the database continues."""
    from scs_deploy.environment import environment as environments
    from scs_deploy.operations.backup import create as making
    from scs_deploy.operations.backup.stream import mebibytes
    from scs_deploy.operations.backup.target import open_target

    target = open_target(environments.load(environment))
    good, bad = making.load(target)
    if as_json:
        print_json(
            {
                "target": target.where,
                "backups": [_row(m) for m in good.values()],
                "damaged": {b: d.why for b, d in bad.items()},
            }
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("backup", "release", "database", "continues", "size", "seconds", "parts"):
        table.add_column(name, overflow="fold")
    for m in good.values():
        kind, base = (m.database.kind.value, m.database.base) if m.database else ("", "")
        table.add_row(
            m.id, m.release, kind, base, mebibytes(m.size), f"{m.seconds:.0f}", ", ".join(p.name for p in m.parts)
        )
    console.print(table)
    for backup, damaged in bad.items():
        console.print(f"[yellow]{backup}[/] is no backup: {escape(damaged.why)}", soft_wrap=True)
    console.print(f"{len(good)} in {escape(target.where)}", soft_wrap=True)


@commands.command(epilog="Example: scs backup verify 20260131T023000Z")
def verify(
    backup: BackupArgument = "",
    only: OnlyOption = None,
    identity: IdentityOption = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that a backup can be restored: read all its files, start its database in a container, compare every table.

    Nothing of the region is touched.
    """
    from scs_deploy.operations.backup import choose
    from scs_deploy.operations.backup import verify as proving
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    with RunProgress(errors if as_json else console) as progress:
        chosen = choose.choose(region, backup, tuple(only or ()), progress)
        proved = proving.verify(region, chosen.target, chosen.backup, chosen.links, chosen.parts, progress, identity)
    if as_json:
        print_json(proved.model_dump(mode="json"))
        return
    for name in proved.uncertain:
        console.print(f"[yellow]note[/]: {escape(name)} was written to during the copy, and its count is another one")
    held = f": {proved.tables} tables, {proved.rows} rows, at {proved.position}" if proved.tables else ""
    console.print(f"[green]good[/]: backup {proved.backup}{held} in {proved.seconds:.0f} s", soft_wrap=True)


@commands.command(epilog="Example: scs backup restore 20260131T023000Z --only mariadb --plan")
def restore(
    backup: BackupArgument = "",
    only: OnlyOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Check everything and show the steps; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    host: Annotated[
        str,
        typer.Option(metavar="HOST", help="Restore the database on this member. Default: the one it was taken from."),
    ] = "",
    no_copy: Annotated[bool, typer.Option("--no-copy", help="Keep no copy of the data directory.")] = False,
    identity: IdentityOption = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back: services stop, one member gets the data, the others join it, services start.

    The region's description is extracted beside the present one. Safe to run again: it begins anew.
    """
    from scs_deploy.operations.backup.restore import Restore, RestoreRequest
    from scs_deploy.region.region import Region

    if not plan:
        check_terminal(yes, as_json)
    request = RestoreRequest(
        backup=backup, only=tuple(only or ()), host=host, copies=not no_copy, identity=identity
    )  # fmt: skip
    operation = Restore(Region.load(environment), request)
    with RunProgress(errors if as_json else console) as progress:
        if plan:
            _show_plan(operation.plan(progress), as_json)
            return

        def confirm(made: RestorePlan) -> bool:
            with progress.paused():
                if not as_json:
                    _print_plan(made)
                ask(f"restore {', '.join(made.parts)} of {made.backup}?", yes)
            return True

        done = operation.run(progress, confirm)
    if not done.run:
        return
    if as_json:
        print_json({**done.plan.model_dump(mode="json"), "run": done.run, "extracted": done.extracted})
        return
    for name in done.uncertain:
        console.print(f"[yellow]note[/]: {escape(name)} was written to during the copy, and its count is another one")
    if done.extracted:
        console.print(f"the region's description is in {escape(done.extracted)}", soft_wrap=True)
    console.print(f"[green]restored[/] {', '.join(done.plan.parts)} of {done.plan.backup} in run {done.run}")


@commands.command(epilog="Example: scs backup schedule --install")
def schedule(
    install: Annotated[
        bool, typer.Option("--install", help="Write the units to /etc/systemd and start the timer.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Stop the timer and remove the units.")] = False,
    environment: EnvironmentOption = None,
) -> None:
    """Show the systemd units that make a backup by the clock (backup.schedule in environment.yml), or install them."""
    from scs_deploy.environment import environment as environments
    from scs_deploy.operations.backup import schedule as timing

    region = environments.load(environment)
    if install and remove:
        raise RefusedError("--install and --remove exclude each other", "choose one")
    if remove:
        files = timing.remove(region)
        console.print(f"removed {', '.join(map(str, files))}" if files else "there was no timer", soft_wrap=True)
        return
    if skipped := timing.warning(region):
        errors.print(f"warning: {skipped}", markup=False, soft_wrap=True)
    if install:
        for written in timing.install(region):
            console.print(f"wrote {written}", soft_wrap=True)
        console.print(f"[green]done[/]: the next backup begins {timing.check_calendar(region)}, or a little later")
        return
    for file, text in timing.units(region, timing.program(), timing.variables()).items():
        typer.echo(f"# {timing.FOLDER / file}\n{text}")


def _show_plan(made: RestorePlan, as_json: bool) -> None:
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        _print_plan(made)


def _print_plan(made: RestorePlan) -> None:
    console.print(f"backup {made.backup}: {', '.join(made.parts)}")
    for number, step in enumerate(made.steps, 1):
        console.print(f"{number:>3}. [bold]{', '.join(step.hosts)}[/]: {escape(step.what)}", soft_wrap=True)
    for note in made.notes:
        console.print(f"  [cyan]note[/]  {escape(note)}", soft_wrap=True)


def _row(found: Manifest) -> dict[str, Any]:
    database = found.database
    return {
        "id": found.id,
        "started": found.started.isoformat(),
        "seconds": found.seconds,
        "release": found.release,
        "size": found.size,
        "parts": [p.name for p in found.parts],
        "database": database.model_dump(mode="json", exclude={"tables"}) if database else None,
        "tables": len(database.tables) if database else 0,
    }
