# SPDX-License-Identifier: Apache-2.0
"""`scs upgrade`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.cli import lockdiff, measured, show
from scs_deploy.cli.apply import confirming
from scs_deploy.cli.common import EnvironmentOption, console, errors
from scs_deploy.cli.plan import Allow
from scs_deploy.errors import RefusedError, ScsError

if TYPE_CHECKING:
    from scs_deploy.environment import Environment


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs upgrade --images --max-failed-requests 20")(upgrade)


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
    """Bring the region to its release lock, member by member and measured, then validate it.

    Shows the plan and asks, stops at the first gate that fails, and touches the data plane with consent only.
    """
    from scs_deploy import apply as applies
    from scs_deploy import context, pipeline
    from scs_deploy import environment as environments
    from scs_deploy import upgrade as upgrades

    chosen = environments.load(environment)
    if timer or remove_timer:
        _timer(chosen, timer)
        return
    if unattended:
        upgrades.check_unattended(upgrades.latest(chosen))
        if max_failed_requests is None and not no_probe:
            max_failed_requests = upgrades.FAILED_AT_NIGHT
    probe = measured.options(max_failed_requests, no_probe, ping)
    agreed = yes or unattended
    if not agreed and not sys.stdin.isatty():
        raise RefusedError("upgrade asks before it changes anything, and there is nobody to ask", "add --yes")
    if images:
        _build(chosen)
    region = context.load(chosen.name)
    selection = pipeline.Selection(allow=tuple(allow or ()))
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


def _build(environment: Environment) -> None:
    from scs_deploy.images.build import Region
    from scs_deploy.images.progress import Progress

    with Progress(errors) as progress:
        result = Region(environment, progress).build()
    lockdiff.show(result.difference)


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
    from scs_deploy import upgrade as upgrades

    if calendar:
        for file in upgrades.schedule(environment, calendar):
            console.print(f"written: {file}")
        console.print(f"next: systemctl list-timers {upgrades.unit(environment.name)}.timer")
    elif upgrades.unschedule(environment):
        console.print(f"removed: {upgrades.unit(environment.name)}.timer")
    else:
        raise RefusedError(f"{environment.name} has no timer", 'scs upgrade --timer "*-*-* 03:00"')
