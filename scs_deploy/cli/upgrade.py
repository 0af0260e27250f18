# SPDX-License-Identifier: Apache-2.0
"""`scs upgrade`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _progress as show
from scs_deploy.cli import _releasing as releasing
from scs_deploy.cli._options import EnvironmentOption, console, errors
from scs_deploy.cli.apply import confirming
from scs_deploy.cli.plan import Allow

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs upgrade --images --max-failed-requests 20; scs upgrade --release 2026.1 --plan")(
        upgrade
    )


def upgrade(
    images: Annotated[
        bool, typer.Option("--images", help="First build images from today's packages, as `scs images build` does.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    unattended: Annotated[
        bool,
        typer.Option(
            "--unattended",
            help="For timers: ask nothing, refuse to begin where the last run did not reach its end, pause when more "
            "than 10 requests have failed (see --max-failed-requests).",
        ),
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Go to this release of OpenStack; everything that speaks against it is found before anything changes.",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="With --release: ask and show everything, change nothing, not even environment.yml."
        ),
    ] = False,
    no_backup: Annotated[
        bool,
        typer.Option(
            "--no-backup", help="With --release: go without a verified backup of the database from the last 24 hours."
        ),
    ] = False,
    allow: Allow = None,
    no_validate: Annotated[
        bool, typer.Option("--no-validate", help="Do not use the region as its users do afterwards.")
    ] = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    timer: Annotated[
        str | None,
        typer.Option(
            metavar="CALENDAR",
            help="Upgrade nothing now: have systemd do it unattended at these times, e.g. `*-*-* 03:00`.",
        ),
    ] = None,
    remove_timer: Annotated[bool, typer.Option("--remove-timer", help="Remove that timer; nothing else.")] = False,
    environment: EnvironmentOption = None,
) -> None:
    """Bring the region to its release lock, or to another release, member by member and measured, then validate it.

    Shows the plan and asks, stops at the first gate that fails, and touches the data plane with consent only.
    """
    from scs_deploy.engine.observe import make_plan
    from scs_deploy.environment import environment as environments
    from scs_deploy.operations import apply as applies
    from scs_deploy.operations.upgrade import schedule as upgrades
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection

    chosen = environments.load(environment)
    if not release and (plan or no_backup):
        raise RefusedError(f"{'--plan' if plan else '--no-backup'} goes with --release", "scs plan shows all else")
    if release and (timer or remove_timer or unattended):
        raise RefusedError("a release is upgraded to once, with somebody at hand", "leave out --timer, --unattended")
    if plan and images:
        raise RefusedError("--plan builds no images", f"scs images build --release {release}")
    if timer or remove_timer:
        _timer(chosen, timer)
        return
    if unattended:
        upgrades.check_unattended(upgrades.latest(chosen))
        if max_failed_requests is None and not no_probe:
            max_failed_requests = upgrades.FAILED_AT_NIGHT
    probe = measured.options(max_failed_requests, no_probe, ping)
    agreed = yes or unattended
    if not agreed and not plan and not sys.stdin.isatty():
        raise RefusedError("upgrade asks before it changes anything, and there is nobody to ask", "add --yes")
    selection = Selection(allow=tuple(allow or ()))
    if release and releasing.begins(chosen, release):
        orders = releasing.Orders(release, selection, probe, images, no_backup, plan, yes, command(sys.argv))
        if (made := releasing.go(chosen, orders)) and not no_validate:
            _validate(chosen, made.run)
        return
    if images:
        releasing.build(chosen)
    region = Region.load(chosen.name)
    if plan:
        found = make_plan(region, selection)
        show.print_plan(found)
        return
    with show.RunProgress() as progress:
        confirm = confirming(region, progress, "upgrade?", agreed)
        done = applies.apply(region, selection, progress, confirm, command=command(sys.argv), probe=probe)
    if done.held:
        console.print(f"[yellow]{done.held} changes are held back[/] until `scs upgrade --allow data-plane`")
    if not done.run:
        console.print("[green]nothing to upgrade[/]: the region runs what its release lock says")
        return
    console.print(f"[green]upgraded[/]: {done.changes} changes in run {done.run}")
    if not no_validate:
        _validate(chosen, done.run)


def command(words: list[str]) -> str:
    """What the run's record calls it."""
    return " ".join(["scs", *words[1:]])


def _validate(environment: Environment, run: str) -> None:
    """Use the region.

    :raises ScsError: a check failed
    """
    from scs_deploy import validate
    from scs_deploy.cli.validate import _progress

    with errors.status("validating") as status:
        report = validate.run(environment, on_progress=lambda name, result: _progress(status, name, result))
    if not report.passed:
        failed = ", ".join(r.check for r in report.results if r.verdict is validate.Verdict.FAILED)
        raise ScsError(f"upgraded, but validation failed: {failed}", f"scs validate; scs rollback {run} goes back")
    console.print(f"[green]validated[/]: {report.count(validate.Verdict.PASSED)} checks passed")


def _timer(environment: Environment, calendar: str | None) -> None:
    from scs_deploy.operations.upgrade import schedule as upgrades

    if calendar:
        for file in upgrades.schedule(environment, calendar):
            console.print(f"written: {file}")
        console.print(f"next: systemctl list-timers {upgrades.unit(environment.name)}.timer")
    elif upgrades.unschedule(environment):
        console.print(f"removed: {upgrades.unit(environment.name)}.timer")
    else:
        raise RefusedError(f"{environment.name} has no timer", 'scs upgrade --timer "*-*-* 03:00"')
