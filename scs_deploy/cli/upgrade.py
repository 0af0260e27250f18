# SPDX-License-Identifier: Apache-2.0
"""`scs upgrade`: to the latest images, to another release, or on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _measured as measured
from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import EnvironmentOption, YesOption, command_line, console, errors
from scs_deploy.cli._plans import print_any_plan
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli.apply import print_held, print_waiting
from scs_deploy.cli.plan import Allow

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment
    from scs_deploy.operations.apply import Applied
    from scs_deploy.spec.container import Impact

app = typer.Typer(
    help="Upgrade the region to its release lock or to another release without downtime, measured and validated.",
    invoke_without_command=True,
)

Images = Annotated[
    bool, typer.Option("--images", help="First build images from the newest packages, as `scs images build` does.")
]
Unattended = Annotated[
    bool,
    typer.Option(
        "--unattended",
        help="For timers: do not ask, refuse to start if the last run is unfinished, and pause once more than 10 "
        "requests have failed (see --max-failed-requests).",
    ),
]
NoBackup = Annotated[
    bool, typer.Option("--no-backup", help="Do not require a verified backup of the database from the last 24 hours.")
]
NoValidate = Annotated[bool, typer.Option("--no-validate", help="Skip validation after the upgrade.")]
HIDDEN_HELP = "Deprecated."


def register(parent: typer.Typer) -> None:
    """Add `scs upgrade`."""
    parent.add_typer(app, name="upgrade")


@app.command(epilog="Example: scs upgrade run --images --max-failed-requests 20")
def run(
    images: Images = False,
    yes: YesOption = False,
    unattended: Unattended = False,
    allow: Allow = None,
    no_validate: NoValidate = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
    max_alerts: measured.MaxAlerts = None,
) -> None:
    """Upgrade the region to the images of its release lock, host by host and measured, then validate it.

    Shows the plan and asks for confirmation. Stops at the first failed gate. Changes the data plane only if allowed.
    """
    from scs_deploy.operations.upgrade.daily import DailyUpgrade, UpgradeRequest

    agreed = yes or unattended
    probe = measured.options(max_failed_requests, no_probe, ping, max_alerts)
    request = UpgradeRequest(
        allow=tuple(allow or ()), probe=probe, images=images, unattended=unattended, validation=not no_validate
    )
    region = load_region(environment)
    check_terminal(agreed)
    with RunProgress() as progress:
        operation = DailyUpgrade(region, request, command_line())
        done = operation.run(progress, plan_confirmation(region, progress, "upgrade with", agreed))
    _print_result(done)


@app.command(epilog="Example: scs upgrade release 2026.1 --plan; scs upgrade release 2026.1 --images")
def release(
    name: Annotated[str, typer.Argument(metavar="RELEASE", help="File name in releases/, without .yml.")],
    images: Images = False,
    yes: YesOption = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Run all checks and show the plan; change nothing, not even environment.yml.")
    ] = False,
    no_backup: NoBackup = False,
    allow: Allow = None,
    no_validate: NoValidate = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
    max_alerts: measured.MaxAlerts = None,
) -> None:
    """Upgrade to this OpenStack release. All blockers are reported before anything changes."""
    from scs_deploy.operations.upgrade.release import ReleaseRequest, ReleaseUpgrade, check_path, operation

    if plan and images:
        raise RefusedError("--plan cannot be combined with --images", f"scs images build --release {name}")
    request = ReleaseRequest(
        release=name, allow=tuple(allow or ()), probe=measured.options(max_failed_requests, no_probe, ping, max_alerts),
        images=images, backup=not no_backup, validation=not no_validate,
    )  # fmt: skip
    region = load_region(environment)
    check_path(region.environment, name)
    check_terminal(yes or plan)
    upgrade = operation(region, request, command_line())
    changes_release = isinstance(upgrade, ReleaseUpgrade)
    if not changes_release:
        console.print(f"environment.yml already names release {name}: continuing the upgrade")
    with RunProgress() as progress:
        if plan:
            made = upgrade.plan(progress)
            with progress.paused():
                print_any_plan(region, made)
            return
        done = upgrade.run(progress, plan_confirmation(region, progress, "upgrade with", yes))
    _print_result(done, name if changes_release else "")


@app.command(epilog='Example: scs upgrade schedule "*-*-* 05:00"; scs upgrade schedule --remove')
def schedule(
    calendar: Annotated[
        str | None, typer.Argument(metavar="CALENDAR", help="A systemd calendar expression, e.g. `*-*-* 05:00`.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the timer.")] = False,
    environment: EnvironmentOption = None,
) -> None:
    """Have systemd run `scs upgrade run --unattended --images` on a schedule."""
    from scs_deploy.environment.environment import load as load_environment

    if bool(calendar) == remove:
        raise RefusedError("requires either a calendar expression or --remove", 'scs upgrade schedule "*-*-* 05:00"')
    _schedule(load_environment(environment), calendar)


@app.callback()
def _old_spelling(
    context: typer.Context,
    images: Annotated[bool, typer.Option("--images", hidden=True, help=HIDDEN_HELP)] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", hidden=True, help=HIDDEN_HELP)] = False,
    unattended: Annotated[bool, typer.Option("--unattended", hidden=True, help=HIDDEN_HELP)] = False,
    name: Annotated[str | None, typer.Option("--release", hidden=True, help=HIDDEN_HELP)] = None,
    plan: Annotated[bool, typer.Option("--plan", hidden=True, help=HIDDEN_HELP)] = False,
    no_backup: Annotated[bool, typer.Option("--no-backup", hidden=True, help=HIDDEN_HELP)] = False,
    allow: Annotated[list[str] | None, typer.Option("--allow", hidden=True, help=HIDDEN_HELP)] = None,
    no_validate: Annotated[bool, typer.Option("--no-validate", hidden=True, help=HIDDEN_HELP)] = False,
    max_failed_requests: Annotated[
        int | None, typer.Option("--max-failed-requests", min=0, hidden=True, help=HIDDEN_HELP)
    ] = None,
    no_probe: Annotated[bool, typer.Option("--no-probe", hidden=True, help=HIDDEN_HELP)] = False,
    ping: Annotated[str | None, typer.Option("--ping", hidden=True, help=HIDDEN_HELP)] = None,
    timer: Annotated[str | None, typer.Option("--timer", hidden=True, help=HIDDEN_HELP)] = None,
    remove_timer: Annotated[bool, typer.Option("--remove-timer", hidden=True, help=HIDDEN_HELP)] = False,
    environment: Annotated[str | None, typer.Option("--environment", "-e", hidden=True, help=HIDDEN_HELP)] = None,
) -> None:
    """`scs upgrade` without a subcommand, as in scs 0.1. To be removed in the next release of scs."""
    if context.invoked_subcommand:
        return
    impacts = _impacts(allow or ())
    if timer or remove_timer:
        _note('scs upgrade schedule "CALENDAR"' if timer else "scs upgrade schedule --remove")
        if name or unattended:
            raise RefusedError(
                "--timer and --remove-timer cannot be combined with other options", "scs upgrade schedule --help"
            )
        schedule(timer, remove_timer, environment)
    elif name:
        _note(f"scs upgrade release {name}")
        if unattended:
            raise RefusedError("--release cannot be combined with --unattended", f"scs upgrade release {name}")
        release(
            name, images, yes, plan, no_backup, impacts, no_validate, max_failed_requests, no_probe, ping, environment
        )
    else:
        _note("scs upgrade run")
        if plan or no_backup:
            raise RefusedError(
                f"{'--plan' if plan else '--no-backup'} requires a release",
                "scs plan shows an upgrade within a release",
            )
        run(images, yes, unattended, impacts, no_validate, max_failed_requests, no_probe, ping, environment)


def _impacts(names: list[str] | tuple[()]) -> list[Impact]:
    from scs_deploy.spec.container import Impact

    try:
        return [Impact(n) for n in names]
    except ValueError:
        raise RefusedError(f"--allow {', '.join(names)}: no such impact", f"there are: {', '.join(Impact)}") from None


def _note(instead: str) -> None:
    errors.print(f"note: deprecated, to be removed in the next release of scs; use `{instead}`", markup=False)


def _print_result(done: Applied, release: str = "") -> None:
    """Print how the upgrade ended.

    :param release: the region's new release; empty: it kept its release
    """
    print_held(done.held, "scs upgrade run --allow data-plane")
    print_waiting(done.unreachable)
    if not done.run:
        console.print("[green]nothing to upgrade[/]: the region matches its release lock")
        return
    target = f" to release {release}" if release else ""
    console.print(f"[green]upgraded[/]{target}: {counted(done.changes, 'change')} in run {done.run}")
    if release:
        console.print("environment.yml and release.lock.yml changed: commit them")


def _schedule(environment: Environment, calendar: str | None) -> None:
    from scs_deploy.operations.upgrade import schedule as upgrade_schedule

    if calendar:
        for file in upgrade_schedule.schedule(environment, calendar):
            console.print(f"wrote {file}")
        if skipped := upgrade_schedule.warning(calendar):
            errors.print(f"warning: {skipped}", markup=False, soft_wrap=True)
        console.print(f"next: systemctl list-timers {upgrade_schedule.unit(environment.name)}.timer")
    elif upgrade_schedule.unschedule(environment):
        console.print(f"removed {upgrade_schedule.unit(environment.name)}.timer")
    else:
        raise RefusedError(f"{environment.name} has no timer", 'scs upgrade schedule "*-*-* 05:00"')
