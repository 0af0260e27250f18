# SPDX-License-Identifier: Apache-2.0
"""`scs rollback`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _lockdiff as lockdiff
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _progress as show
from scs_deploy.cli._asking import check_terminal, confirming
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json

if TYPE_CHECKING:
    from scs_deploy.operations.rollback import RollbackPlan
    from scs_deploy.region.region import Region


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs rollback 06afj0awy --service nova --plan")(rollback)


def rollback(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run to take back. Default: the latest that changed something.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--service", metavar="SERVICE|LAYER", help="Only this; may be given several times."),
    ] = None,
    images_only: Annotated[bool, typer.Option("--images-only", help="Leave the override files as they are.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would go back, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the release, images and override files that the region had before a run.

    Writes the earlier release lock and overrides into the environment's folder, then rolls as any apply does. Refuses
    where a schema changed since, or a program wrote data that the earlier one cannot read.
    """
    from scs_deploy.operations import rollback as rollbacks
    from scs_deploy.region.region import Region

    probe = measured.options(max_failed_requests, no_probe, ping)
    if as_json and not plan:
        raise RefusedError("--json goes with --plan", "scs runs show --json tells what a rollback did")
    check_terminal(yes or plan)
    region = Region.load(environment)
    request = rollbacks.RollbackRequest(run=run, services=tuple(names or ()), images_only=images_only, probe=probe)
    operation = rollbacks.Rollback(region, request)
    with show.RunProgress(errors) as progress:
        back = operation.plan(progress)
    if as_json:
        print_json(_json(back))
        return
    _show(back)
    operation.check(back)
    if plan or back.empty:
        return
    with show.RunProgress() as progress:
        done = operation.run(progress, confirming(region, progress, "roll back?", yes), back)
    console.print(f"[green]rolled back[/]: {done.changes} changes in run {done.run or '-'}; {_kept(region)}")
    if done.held:
        console.print(f"[yellow]{done.held} changes are held back[/] until `scs apply --allow data-plane`")


def _kept(region: Region) -> str:
    return (
        f"{region.environment.lock_file.name} is the earlier one now: commit it, or the next build goes forward again"
    )


def _show(back: RollbackPlan) -> None:
    if back.empty:
        console.print(f"[green]nothing to roll back[/]: images and overrides are those from before run {back.run}")
        return
    if back.release:
        console.print(f"release: {back.release}, in environment.yml and the lock")
    lockdiff.show(back.images)
    for path, content in back.overrides.items():
        console.print(f"config/{path}: {'removed' if content is None else 'as it was then'}", markup=False)
    for note in back.notes:
        console.print(f"[yellow]note[/]: {note}")


def _json(back: RollbackPlan) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        back.model_dump_json(include={"run", "release", "images", "notes", "refused"})
    )
    return found | {"overrides": sorted(back.overrides)}
