# SPDX-License-Identifier: Apache-2.0
"""`scs runs`: what was done in this region, when, by whom, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _progress as shows
from scs_deploy.cli._asking import check_terminal, confirming
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.environment import environment as environments
from scs_deploy.state import process, snapshot
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import Run, RunStore, Status, run_store

STYLES = {
    Status.RUNNING: "cyan", Status.DONE: "green", Status.FAILED: "red",
    Status.INTERRUPTED: "yellow", Status.REFUSED: "yellow",
    Status.PAUSED: "yellow", Status.ABANDONED: "dim",
}  # fmt: skip

app = typer.Typer(help="Past runs: what was done, how long it took, how it ended.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add `scs runs`."""
    parent.add_typer(app, name="runs")


def _store(environment: str | None) -> RunStore:
    return run_store(environments.load(environment))


@app.command("list", epilog="Example: scs runs list --limit 5")
def list_(
    environment: EnvironmentOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    runs = _store(environment).list(limit)
    if json:
        print_json([run.model_dump(mode="json") for run in runs])
        return
    table = Table("Run", "Started (UTC)", "Took", "Status", "Changes", "By", "Command", box=None, header_style="bold")
    for run in runs:
        table.add_row(
            run.id, f"{run.started.astimezone(UTC):%Y-%m-%d %H:%M:%S}", _took(run), _status(run.status),
            f"{run.changes_done}/{run.changes_total}", run.owner, run.command,
        )  # fmt: skip
    console.print(table if runs else "No run was recorded in this region yet.")


@app.command(epilog="Example: scs runs show 6h2k9qw3x")
def show(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Run to show. Default: the latest.")] = None,
    host: Annotated[str | None, typer.Option(help="Only what happened on this host.")] = None,
    environment: EnvironmentOption = None,
    json: JsonOption = False,
) -> None:
    """Show a run and each of its steps with its duration."""
    store = _store(environment)
    run = store.get(run_id)
    steps, probes = store.steps(run.id), store.probes(run.id)
    if host:
        steps = [step for step in steps if step.host == host]
    if json:
        kept = {
            "steps": [{**step.model_dump(mode="json"), "seconds": step.seconds} for step in steps],
            "measured": [summary.model_dump(mode="json") for summary in probes],
        }
        print_json({**run.model_dump(mode="json"), "seconds": run.seconds, **kept})
        return
    console.print(f"[bold]{run.id}[/]  {_status(run.status)}  {run.command}", soft_wrap=True)
    console.print(
        f"by {run.owner} (pid {run.pid}), {run.started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, took {_took(run)}, "
        f"{run.changes_done} of {run.changes_total} changes"
        + (f", attempt {run.attempt}" if run.attempt > 1 else ""), soft_wrap=True,
    )  # fmt: skip
    if run.scs:
        console.print(f"scs {run.scs}", soft_wrap=True)
    if run.inventory:
        console.print(f"inventory {run.inventory}", soft_wrap=True)
    for line in _inputs(environment, run):
        console.print(line, soft_wrap=True)
    if run.message:
        console.print(run.message, markup=False, soft_wrap=True)
    if probes:
        console.print(measured.table(probes))
        console.print(measured.total(probes), soft_wrap=True)
    if not steps:
        return
    table = Table(
        "#", "Started", "Phase", "Task", "Host", "Subject", "Took", "Status", "Message", box=None, header_style="bold"
    )
    for step in steps:
        table.add_row(
            str(step.sequence), f"{step.started.astimezone(UTC):%H:%M:%S}", step.phase, step.task, step.host,
            step.subject, duration(step.seconds), _status(step.status), step.message,
        )  # fmt: skip
    console.print(table)


@app.command(epilog="Example: scs runs pause")
def pause(environment: EnvironmentOption = None) -> None:
    """Have the run that is under way stop before its next play, or before the next host of one."""
    from scs_deploy.engine import execute

    region = environments.load(environment)
    run = run_store(region).get(changing=True)
    if run.status is not Status.RUNNING:
        raise RefusedError(f"no run is under way in {region.name}", "scs runs list")
    if not run.resume:
        raise RefusedError(f"run {run.id} (`{run.command}`) cannot be paused", "wait for it, or interrupt it")
    execute.pause(region, run.id, f"asked for by {process.owner()}")
    console.print(f"run {run.id} pauses before its next play")


@app.command(epilog="Example: scs runs resume --yes")
def resume(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Run to resume. Default: the latest.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
) -> None:
    """Go on with a run that was paused, failed or interrupted. Observes first, and does what is left of it."""
    from scs_deploy.cli._rotating import print_waiting
    from scs_deploy.cli.apply import finished
    from scs_deploy.operations.apply import Applied
    from scs_deploy.operations.resume import resumption
    from scs_deploy.operations.rotate.rotation import RotationResult
    from scs_deploy.region.region import Region

    given = max_failed_requests is not None or no_probe or ping
    probe = measured.options(max_failed_requests, no_probe, ping) if given else None
    region = Region.load(environment)
    check_terminal(yes)
    operation, found = resumption(region, run_id, probe)
    with shows.RunProgress() as progress:
        done = operation.run(progress, confirming(region, progress, "go on?", yes), resumed=found)
    if isinstance(done, Applied):
        finished(region, done)
    elif isinstance(done, RotationResult) and done.waits_for:
        print_waiting(region.environment, operation.command, done)
    else:
        console.print(f"[green]done[/]: run {found.id}")


@app.command(epilog="Example: scs runs abandon 6h2k9qw3x")
def abandon(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Run to abandon. Default: the latest.")] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Declare that a run which did not reach its end will not be resumed. Changes nothing in the region."""
    from scs_deploy.operations.base import OPEN

    region = environments.load(environment)
    with region_lock(region), run_store(region) as store:
        run = store.get(run_id, changing=True)
        if run.status not in OPEN:
            raise RefusedError(f"run {run.id} is {run.status}, there is nothing to abandon", "scs runs list")
        store.abandon(run)
    left = run.changes_total - run.changes_done
    console.print(f"run {run.id} is abandoned; {left} of its changes were not made: `scs plan` shows what differs")


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: `0.4 s`, `1 min 05 s`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _inputs(environment: str | None, run: Run) -> list[str]:
    """What the run took the region from and to, as far as it is kept."""
    region = environments.load(environment)
    try:
        after = snapshot.load(region, run.inputs).about
    except RefusedError:
        return []
    try:
        before = snapshot.load(region, run.before).about
    except RefusedError:
        return [f"release lock {after.lock}, overrides {after.config or 'none'}; what was before is not known"]
    parts = (("release lock", "lock"), ("overrides", "config"), ("environment.yml", "settings"))
    changed = [
        f"{name} {getattr(before, key) or 'none'} -> {getattr(after, key) or 'none'}"
        for name, key in parts
        if getattr(before, key) != getattr(after, key)
    ]
    return [", ".join(changed)] if changed else []


def _took(run: Run) -> str:
    if run.status is Status.RUNNING:
        return duration((datetime.now(UTC) - run.started).total_seconds()) + " so far"
    return duration(run.seconds)


def _status(status: Status) -> str:
    return f"[{STYLES[status]}]{status}[/]"
