# SPDX-License-Identifier: Apache-2.0
"""`scs backup`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _names as names
from scs_deploy.cli._asking import check_terminal, confirm_or_exit
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, command_line, console, errors, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_for_reading, load_region
from scs_deploy.cli._tables import Cell, Column, show_table

if TYPE_CHECKING:
    from scs_deploy.operations.backup.manifest import Manifest
    from scs_deploy.operations.backup.restore_plan import RestorePlan
    from scs_deploy.operations.backup.volumes import VolumeBackups

OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="PART", help="Only this part, or the parts of this service; can be repeated."),
]
BackupArgument = Annotated[
    str, typer.Argument(metavar="[BACKUP]", help="Its id, as in `scs backup list`. Default: the latest.")
]

IdentityOption = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, metavar="FILE", help="Use this age secret key instead of the one in the vault."
    ),
]

UnauthenticatedOption = Annotated[
    datetime | None,
    typer.Option(
        "--unauthenticated",
        formats=["%Y-%m-%d"],
        metavar="DAY",
        help="Trust backups without signature, too, up to those of this day: an earlier scs made them.",
    ),
]

COLUMNS = (
    Column("backup", key=True),
    Column("release", leave=2),
    Column("database", key=True),
    Column("based on", key=True, leave=1),
    Column("size", key=True, justify="right"),
    Column("seconds", leave=3, justify="right"),
    Column("parts"),
    Column("authenticated", key=True, leave=4),
)

VOLUME_COLUMNS = (
    Column("backups of volumes", key=True, justify="right"),
    Column("failed", key=True, justify="right"),
    Column("volumes", leave=2, justify="right"),
    Column("size", key=True, leave=1, justify="right"),
    Column("newest", key=True),
)

commands = typer.Typer(
    no_args_is_help=True, help="Back up databases, keys and the region's configuration; verify and restore backups."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="backup")


@commands.command(epilog="Example: scs backup create --full")
def create(
    full: Annotated[
        bool, typer.Option("--full", help="Make a full copy of the database, not an incremental one.")
    ] = False,
    only: OnlyOption = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an encrypted backup, and remove expired ones. The region keeps working meanwhile.

    The database is copied from a member that takes no writes, incrementally where possible.
    """
    from scs_deploy.operations.backup.create import BackupRequest, CreateBackup
    from scs_deploy.operations.backup.stream import mebibytes

    request = BackupRequest(full=full, only=tuple(only or ()))
    with RunProgress(errors if as_json else console) as progress:
        region = load_region(environment)
        done = CreateBackup(region, request, command_line()).run(progress)
    made = done.backup
    names.changed(region.environment.path, "BACKUP", [made.id], done.removed)
    if as_json:
        print_json({**_row(made), "removed": list(done.removed)})
    else:
        console.print(f"[green]done[/]: backup {made.id}, {mebibytes(made.size)} in {made.seconds:.0f} s")


@commands.command("list", epilog="Example: scs backup list --json")
def list_(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """List all backups: their time, content and size, and which backup an incremental one is based on.

    Below, how many backups of volumes users have, if Cinder answers: they are in Ceph, and in no backup of scs.
    """
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.operations.backup.listing import listed

    region = load_environment(environment)
    stored = listed(region)
    found, authentic = stored.backups, stored.authentic
    names.remember(region.path, {"BACKUP": found})
    if as_json:
        volumes = _volumes(environment)
        print_json(
            {
                "target": stored.target,
                "backups": [{**_row(m), "authenticated": authentic[b]} for b, m in found.items()],
                "damaged": {b: d.why for b, d in stored.damaged.items()},
                "volume_backups": volumes.model_dump(mode="json") if volumes else None,
            }
        )
        return
    show_table(console, COLUMNS, [(*_cells(m), authentic[b]) for b, m in found.items()])
    for backup, damaged in stored.damaged.items():
        console.print(f"[yellow]{backup}[/] cannot be used: {escape(damaged.why)}", soft_wrap=True)
    if stored.unsigned:
        console.print("[yellow]note[/]: a backup that is not authenticated is from an earlier scs, or forged")
    if stored.unchecked:
        console.print(f"[yellow]note[/]: no signature was checked: {escape(stored.unchecked)}", soft_wrap=True)
    console.print(f"{counted(len(found), 'backup')} in {escape(stored.target)}", soft_wrap=True)
    if volumes := _volumes(environment):
        _print_volumes(volumes)


@commands.command(epilog="Example: scs backup verify 20260131T023000Z")
def verify(
    backup: BackupArgument = "",
    only: OnlyOption = None,
    identity: IdentityOption = None,
    unauthenticated: UnauthenticatedOption = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that a backup can be restored: read all its files, start its database in a container, compare every table.

    Does not touch the region.
    """
    from scs_deploy.operations.backup.choose import choose
    from scs_deploy.operations.backup.verify import verify as verify_backup

    region = load_region(environment)
    with RunProgress(errors if as_json else console) as progress:
        chosen = choose(region, backup, tuple(only or ()), progress, _day(unauthenticated))
        proof = verify_backup(region, chosen.target, chosen.backup, chosen.links, chosen.parts, progress, identity)
    if as_json:
        print_json(proof.model_dump(mode="json"))
        return
    _print_uncertain(proof.uncertain)
    database = (
        f": {counted(proof.tables, 'table')}, {counted(proof.rows, 'row')}, at {proof.position}" if proof.tables else ""
    )
    console.print(f"[green]good[/]: backup {proof.backup}{database} in {proof.seconds:.0f} s", soft_wrap=True)


@commands.command(epilog="Example: scs backup restore 20260131T023000Z --only mariadb --plan")
def restore(
    backup: BackupArgument = "",
    only: OnlyOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Check everything and show the steps; change nothing.")] = False,
    yes: YesOption = False,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST", help="Restore the database on this member. Default: the member it was copied from."
        ),
    ] = "",
    no_copy: Annotated[bool, typer.Option("--no-copy", help="Keep no copy of the current data directory.")] = False,
    identity: IdentityOption = None,
    unauthenticated: UnauthenticatedOption = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a backup: stop services, restore the data on one member, have the others join it, start services.

    The backed-up configuration is extracted next to the current one. Safe to run again: it starts over.
    """
    from scs_deploy.operations.backup.restore import Restore, RestoreRequest

    request = RestoreRequest(
        backup=backup, only=tuple(only or ()), host=host, copies=not no_copy, identity=identity,
        unsigned_until=_day(unauthenticated),
    )  # fmt: skip
    operation = Restore(load_region(environment), request, command_line())
    with RunProgress(errors if as_json else console) as progress:
        if plan:
            _show_plan(operation.plan(progress), as_json)
            return

        def confirm(made: RestorePlan) -> bool:
            with progress.paused():
                if not as_json:
                    _print_plan(made)
                check_terminal(yes, as_json)
                parts, name = ", ".join(made.parts), operation.region.environment.name
                confirm_or_exit(f"restore {parts} of backup {made.backup} to region {name}?", yes)
            return True

        done = operation.run(progress, confirm)
    if not done.run:
        if as_json:
            print_json(done.plan.model_dump(mode="json"))
        elif not done.plan.steps:
            _print_plan(done.plan)
            console.print("nothing to restore")
        return
    if as_json:
        print_json({**done.plan.model_dump(mode="json"), "run": done.run, "extracted": done.extracted})
        return
    _print_uncertain(done.uncertain)
    if done.extracted:
        console.print(f"the backed-up configuration is in {escape(done.extracted)}", soft_wrap=True)
    console.print(f"[green]restored[/] {', '.join(done.plan.parts)} of {done.plan.backup} in run {done.run}")


@commands.command(epilog="Example: scs backup unpack 20260131T023000Z --vault-password-file password --into berlin")
def unpack(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, metavar="FOLDER", help="The backup, copied to this machine.")
    ],
    vault_password_file: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="File with the region's vault password.")
    ],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to create.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PART", help="These parts, each as a file, instead; can be repeated."),
    ] = None,
) -> None:
    """Extract the region's description from a backup after the loss of the manager, once it is authenticated.

    Needs no environment, only the backup and the vault password. Other parts may hold keys in plain text.
    """
    from scs_deploy.operations.backup.recover import recover
    from scs_deploy.secrets import vault

    found = recover(folder, vault.read_password(vault_password_file, "--vault-password-file"), into, tuple(only or ()))
    console.print(
        f"[green]done[/]: {', '.join(only or ['environment'])} of region {found.region}, environment "
        f"{found.environment}, of {found.started:%Y-%m-%d %H:%M} UTC is in {escape(str(into))}",
        soft_wrap=True,
    )


@commands.command(epilog="Example: scs backup schedule --install")
def schedule(
    install: Annotated[
        bool, typer.Option("--install", help="Write the units to /etc/systemd and start the timer.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Stop the timer and remove the units.")] = False,
    environment: EnvironmentOption = None,
) -> None:
    """Show or install the systemd units that make backups on a schedule (backup.schedule in environment.yml)."""
    from scs_deploy.base import systemd
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.operations.backup import schedule as backup_schedule

    region = load_environment(environment)
    if install and remove:
        raise RefusedError("--install cannot be combined with --remove", "choose one")
    if remove:
        files = backup_schedule.remove(region)
        console.print(f"removed {', '.join(map(str, files))}" if files else "no timer is installed", soft_wrap=True)
        return
    if skipped := backup_schedule.warning(region):
        errors.print(f"warning: {skipped}", markup=False, soft_wrap=True)
    if install:
        for written in backup_schedule.install(region):
            console.print(f"wrote {written}", soft_wrap=True)
        console.print(
            f"[green]done[/]: the next backup starts at {backup_schedule.check_calendar(region)}, or shortly after"
        )
        return
    for file, text in backup_schedule.units(region, systemd.program(), systemd.variables()).items():
        typer.echo(f"# {systemd.UNITS / file}\n{text}")


def _volumes(environment: str | None) -> VolumeBackups | None:
    """Backups of volumes; None if the region has no volumes."""
    from scs_deploy.operations.backup import volumes

    try:
        region = load_for_reading(environment)
    except ScsError as error:
        return volumes.VolumeBackups(unknown=error.message)
    return volumes.read(region.environment) if volumes.SERVICE in region.catalog.services else None


def _print_volumes(found: VolumeBackups) -> None:
    console.print()
    if found.unknown:
        console.print(f"[yellow]note[/]: backups of volumes are not known: {escape(found.unknown)}", soft_wrap=True)
    else:
        show_table(console, VOLUME_COLUMNS, [_volume_cells(found)])


def _volume_cells(found: VolumeBackups) -> tuple[Cell, ...]:
    newest = f"{found.newest:%Y-%m-%d %H:%M} UTC" if found.newest else "none"
    failed = Text(str(found.failed), "red" if found.failed else "")
    return str(found.count), failed, str(found.volumes), f"{found.gib} GiB", newest


def _show_plan(made: RestorePlan, as_json: bool) -> None:
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        _print_plan(made)


def _day(option: datetime | None) -> date | None:
    return option.date() if option else None


def _print_plan(made: RestorePlan) -> None:
    console.print(f"backup {made.backup}: {', '.join(made.parts)}")
    for number, step in enumerate(made.steps, 1):
        console.print(f"{number:>3}. [bold]{', '.join(step.hosts)}[/]: {escape(step.what)}", soft_wrap=True)
    for part, what in made.adds.items():
        for line in what:
            console.print(f"  [green]add[/]   {escape(part)}: {escape(line)}", soft_wrap=True)
    for note in made.notes:
        console.print(f"  [cyan]note[/]  {escape(note)}", soft_wrap=True)


def _print_uncertain(tables: Iterable[str]) -> None:
    for name in tables:
        console.print(f"[yellow]note[/]: the row count of {escape(name)} differs: it was written to during the copy")


def _cells(manifest: Manifest) -> tuple[str, ...]:
    from scs_deploy.operations.backup.stream import mebibytes

    database = manifest.database
    kind, base = (database.kind.value, database.base) if database else ("", "")
    parts = ", ".join(p.name for p in manifest.parts)
    return manifest.id, manifest.release, kind, base, mebibytes(manifest.size), f"{manifest.seconds:.0f}", parts


def _row(manifest: Manifest) -> dict[str, Any]:
    database = manifest.database
    return {
        "id": manifest.id,
        "started": manifest.started.isoformat(),
        "seconds": manifest.seconds,
        "release": manifest.release,
        "size": manifest.size,
        "parts": [p.name for p in manifest.parts],
        "database": database.model_dump(mode="json", exclude={"tables"}) if database else None,
        "tables": len(database.tables) if database else 0,
    }
