# SPDX-License-Identifier: Apache-2.0
"""`scs rollback`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _lockdiff as lockdiff
from scs_deploy.cli import _measured as measured
from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, command_line, console, errors, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli.apply import print_held, print_waiting
from scs_deploy.state.snapshot import CONFIG

if TYPE_CHECKING:
    from scs_deploy.operations.rollback import RollbackPlan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs rollback 06afj0awy --service nova --plan")(rollback)


def rollback(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run to roll back. Default: the latest one that changed something."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--service", metavar="SERVICE|LAYER", help="Only this service or layer; can be repeated."),
    ] = None,
    images_only: Annotated[bool, typer.Option("--images-only", help="Do not roll back override files.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be rolled back; change nothing.")] = False,
    yes: YesOption = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Return to the release, images and override files that the region had before a run.

    Writes the earlier release lock and overrides to the environment's folder, then applies them. Refused if a database
    schema has changed since, or a program wrote data that its earlier version cannot read.
    """
    from scs_deploy.operations.rollback import Rollback, RollbackRequest

    probe = measured.options(max_failed_requests, no_probe, ping)
    if as_json and not plan:
        raise RefusedError("--json requires --plan", "scs runs show --json shows what a rollback did")
    region = load_region(environment)
    request = RollbackRequest(run=run, services=tuple(names or ()), images_only=images_only, probe=probe)
    operation = Rollback(region, request, command_line())
    with RunProgress(errors) as progress:
        back = operation.plan(progress)
    if as_json:
        print_json(_json(back))
        return
    _show(back)
    operation.check(back)
    if plan or back.empty:
        return
    check_terminal(yes)
    with RunProgress() as progress:
        done = operation.run(progress, plan_confirmation(region, progress, "roll back", yes), back)
    console.print(
        f"[green]rolled back[/]: {counted(done.changes, 'change')} in run {done.run or '-'}; "
        f"commit {region.environment.lock_file.name}, or the next image build upgrades again"
    )
    print_held(done.held, "scs apply --allow data-plane")
    print_waiting(done.unreachable)


def _show(back: RollbackPlan) -> None:
    if back.empty:
        console.print(f"[green]nothing to roll back[/]: images and overrides are the same as before run {back.run}")
        return
    if back.release:
        console.print(f"release: {back.release}, in environment.yml and the lock")
    lockdiff.show(back.images)
    for path, content in back.overrides.items():
        console.print(f"{path}: {'removed' if content is None else 'restored'}", markup=False)
    for note in back.notes:
        console.print(f"[yellow]note[/]: {note}")


def _json(back: RollbackPlan) -> dict[str, object]:
    fields: dict[str, object] = json.loads(
        back.model_dump_json(include={"run", "release", "images", "notes", "refused"})
    )
    config = f"{CONFIG}/"
    return fields | {
        "overrides": sorted(p.removeprefix(config) for p in back.overrides if p.startswith(config)),
        "own": sorted(p for p in back.overrides if not p.startswith(config)),
    }
