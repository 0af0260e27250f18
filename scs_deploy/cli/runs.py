# SPDX-License-Identifier: Apache-2.0
"""`scs runs`: the history of runs in a region, and pausing and resuming them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _measured as measured
from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, console, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.environment.environment import load as load_environment
from scs_deploy.state import process, snapshot
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import Run, RunStore, Status, run_store

STYLES = {
    Status.RUNNING: "cyan", Status.DONE: "green", Status.FAILED: "red",
    Status.INTERRUPTED: "yellow", Status.REFUSED: "yellow",
    Status.PAUSED: "yellow", Status.ABANDONED: "dim",
}  # fmt: skip

RUN_COLUMNS = (
    Column("run", key=True),
    Column("started (UTC)"),
    Column("took", leave=2, justify="right"),
    Column("status", key=True),
    Column("changes", leave=1, justify="right"),
    Column("by", leave=3),
    Column("command"),
)
STEP_COLUMNS = (
    Column("#", key=True, justify="right"),
    Column("started", leave=3),
    Column("phase", leave=2),
    Column("task"),
    Column("host", key=True),
    Column("subject", leave=4),
    Column("took", leave=1, justify="right"),
    Column("status", key=True),
    Column("message"),
)

app = typer.Typer(help="Show, pause, resume and abandon runs.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add `scs runs`."""
    parent.add_typer(app, name="runs")


def _store(environment: str | None) -> RunStore:
    return run_store(load_environment(environment))


@app.command("list", epilog="Example: scs runs list --limit 5")
def list_(
    environment: EnvironmentOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of runs to show.")] = 20,
    json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    runs = _store(environment).list(limit)
    if json:
        print_json([run.model_dump(mode="json") for run in runs])
        return
    if not runs:
        console.print("this region has no runs yet")
        return
    rows = [
        (run.id, f"{run.started.astimezone(UTC):%Y-%m-%d %H:%M:%S}", _took(run), Text(run.status, STYLES[run.status]),
         f"{run.changes_done}/{run.changes_total}", run.owner, run.command)
        for run in runs
    ]  # fmt: skip
    show_table(console, RUN_COLUMNS, rows)


@app.command(epilog="Example: scs runs show 6h2k9qw3x")
def show(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Run to show. Default: the latest.")] = None,
    host: Annotated[str | None, typer.Option(help="Only steps on this host.")] = None,
    environment: EnvironmentOption = None,
    json: JsonOption = False,
) -> None:
    """Show a run, its steps and their durations."""
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
    console.print(f"[bold]{run.id}[/]  [{STYLES[run.status]}]{run.status}[/]  {escape(run.command)}", soft_wrap=True)
    console.print(
        f"by {run.owner} (pid {run.pid}), {run.started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, took {_took(run)}, "
        f"{run.changes_done} of {counted(run.changes_total, 'change')}"
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
        measured.show_measured(probes)
    if not steps:
        return
    rows = [
        (str(s.sequence), f"{s.started.astimezone(UTC):%H:%M:%S}", s.phase, s.task, s.host, s.subject,
         duration(s.seconds), Text(s.status, STYLES[s.status]), s.message)
        for s in steps
    ]  # fmt: skip
    show_table(console, STEP_COLUMNS, rows)


@app.command(epilog="Example: scs runs pause")
def pause(environment: EnvironmentOption = None) -> None:
    """Pause the current run before its next play, or before the next host of a play."""
    from scs_deploy.engine import execute

    region = load_environment(environment)
    run = run_store(region).get(changing=True)
    if run.status is not Status.RUNNING:
        raise RefusedError(f"no run is in progress in {region.name}", "scs runs list")
    if not run.resume:
        raise RefusedError(f"run {run.id} (`{run.command}`) cannot be paused", "wait until it ends, or interrupt it")
    execute.pause(region, run.id, f"requested by {process.owner()}")
    console.print(f"run {run.id} pauses before its next play")


@app.command(epilog="Example: scs runs resume --yes")
def resume(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Run to resume. Default: the latest.")] = None,
    yes: YesOption = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
) -> None:
    """Resume a run that was paused, failed or was interrupted. Observes the region first, and makes what remains."""
    from scs_deploy.cli._rotating import print_waiting
    from scs_deploy.cli.apply import print_result
    from scs_deploy.operations.apply import Applied
    from scs_deploy.operations.resume import resumption
    from scs_deploy.operations.rotate.rotation import RotationResult
    from scs_deploy.region.region import Region

    given = max_failed_requests is not None or no_probe or ping
    probe = measured.options(max_failed_requests, no_probe, ping) if given else None
    region = Region.load(environment)
    check_terminal(yes)
    operation, run = resumption(region, run_id, probe)
    with RunProgress() as progress:
        done = operation.run(progress, plan_confirmation(region, progress, "resume with", yes), resumed=run)
    if isinstance(done, Applied):
        print_result(region, done)
    elif isinstance(done, RotationResult) and done.waits_for:
        print_waiting(region.environment, operation.command, done)
    else:
        console.print(f"[green]done[/]: run {run.id}")


@app.command(epilog="Example: scs runs abandon 6h2k9qw3x")
def abandon(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Run to abandon. Default: the latest.")] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Mark an unfinished run as one that will not be resumed. Changes nothing in the region."""
    from scs_deploy.operations.base import OPEN

    region = load_environment(environment)
    with region_lock(region), run_store(region) as store:
        run = store.get(run_id, changing=True)
        if run.status not in OPEN:
            raise RefusedError(f"run {run.id} is {run.status} and cannot be abandoned", "scs runs list")
        store.abandon(run)
    made = f"{run.changes_done} of {counted(run.changes_total, 'change')} made"
    console.print(f"run {run.id} is abandoned, {made}; `scs plan` shows what differs")


def duration(seconds: float | None) -> str:
    """A readable duration: `0.4 s`, `1 min 05 s`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _inputs(environment: str | None, run: Run) -> list[str]:
    """The run's inputs before and after it, as far as their snapshots exist."""
    region = load_environment(environment)
    try:
        after = snapshot.load(region, run.inputs).about
    except RefusedError:
        return []
    try:
        before = snapshot.load(region, run.before).about
    except RefusedError:
        return [f"release lock {after.lock}, overrides {after.config or 'none'}; the earlier inputs are unknown"]
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
