# SPDX-License-Identifier: Apache-2.0
"""`scs runs`: the history of runs in a region, and pausing and resuming them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.base.since import since
from scs_deploy.base.times import duration, utc
from scs_deploy.base.words import Words
from scs_deploy.cli import _measured as measured
from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, console, errors, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import load as load_environment
from scs_deploy.state import process, snapshot
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import Run, RunStore, Status, recorded, run_store

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


class Format(Words):
    """How `scs runs export` prints records."""

    JSONL = "jsonl"
    OTLP = "otlp"


EARLIER = "an earlier scs, which recorded neither its version nor its plan"

EVERY = 1_000_000
"""More runs than a region has."""


@dataclass(frozen=True)
class Wanted:
    """The runs that `scs runs list` shows."""

    service: str | None
    host: str | None
    user: str | None
    failed: bool

    @property
    def filters(self) -> bool:
        """Whether some runs are left out."""
        return bool(self.service or self.host or self.user or self.failed)

    def matches(self, store: RunStore, run: Run) -> bool:
        """Whether a run is one of them."""
        if self.user and run.owner.partition("@")[0] != self.user.partition("@")[0]:
            return False
        if self.failed and run.status in (Status.DONE, Status.RUNNING):
            return False
        if not self.service and not self.host:
            return True
        planned = store.planned(run.id)
        services = {c["service"] for c in planned}
        hosts = {c["host"] for c in planned}
        if self.host and self.host not in hosts:
            hosts |= {step.host for step in store.steps(run.id)}
        return (not self.service or self.service in services) and (not self.host or self.host in hosts)


def _store(environment: str | None) -> RunStore:
    return recorded(load_environment(environment))


@app.command("list", epilog="Example: scs runs list --since 7d --service keystone --failed")
def list_(
    environment: EnvironmentOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of runs to show.")] = 20,
    begin: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only runs since then: 12h, 7d, or a date.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="Only runs that planned changes of this service.")] = None,
    host: Annotated[str | None, typer.Option(help="Only runs that changed, or planned to change, this host.")] = None,
    by: Annotated[str | None, typer.Option(metavar="USER", help="Only runs of this user.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only runs that did not reach their end.")] = False,
    json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    store = _store(environment)
    wanted = Wanted(service=service, host=host, user=by, failed=failed)
    known = store.list(EVERY if wanted.filters else limit, since=since(begin) if begin else None)
    runs = list(islice((run for run in known if wanted.matches(store, run)), limit))
    if json:
        print_json([run.model_dump(mode="json") for run in runs])
        return
    if service and (without := sum(not run.scs for run in known)):
        errors.print(f"note: an earlier scs recorded {counted(without, 'run')} without services")
    if not runs:
        console.print("no run matches" if wanted.filters or begin else "this region has no runs yet")
        return
    rows = [
        (run.id, utc(run.started), _took(run), Text(run.status, STYLES[run.status]),
         f"{run.changes_done}/{run.changes_total}", run.owner, run.command)
        for run in runs
    ]  # fmt: skip
    show_table(console, RUN_COLUMNS, rows)


@app.command(epilog="Example: scs runs export --since 7d --format otlp > traces.json")
def export(
    run: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Default: all, see --since.")] = None,
    environment: EnvironmentOption = None,
    begin: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only runs since then: 12h, 7d, or a date.")
    ] = None,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="jsonl|otlp",
            help="jsonl: a JSON object on each line, for runs and their steps. otlp: a JSON document with a trace for "
            "each run, which an OpenTelemetry collector takes at /v1/traces.",
        ),
    ] = Format.JSONL,
) -> None:
    """Print the records of runs for other tools, the oldest run first. They hold no secrets."""
    from scs_deploy.state import export as records

    found = load_environment(environment)
    store = recorded(found)
    if run and begin:
        raise RefusedError("--since cannot be combined with RUN", "leave out one of them")
    chosen = [store.get(one) for one in run] if run else store.list(EVERY, since=since(begin) if begin else None)[::-1]
    with_steps = ((one, store.steps(one.id)) for one in chosen)
    if form is Format.OTLP:
        print_json(records.traces(found.name, with_steps))
        return
    for line in records.lines(with_steps):
        typer.echo(line)


@app.command(epilog="Example: scs runs show 6h2k9qw3x")
def show(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Run to show. Default: the latest.")] = None,
    host: Annotated[str | None, typer.Option(help="Only steps and changes on this host.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the plan of the run in place of its steps.")] = False,
    environment: EnvironmentOption = None,
    json: JsonOption = False,
) -> None:
    """Show a run, its steps and their durations, or the changes that it planned and why."""
    store = _store(environment)
    run = store.get(run_id)
    steps, probes = store.steps(run.id), store.probes(run.id)
    planned = store.planned(run.id) if plan or json else []
    if host:
        steps = [step for step in steps if step.host == host]
        planned = [change for change in planned if change["host"] == host]
    if json:
        kept = {
            "steps": [{**step.model_dump(mode="json"), "seconds": step.seconds} for step in steps],
            "changes": planned,
            "measured": [summary.model_dump(mode="json") for summary in probes],
        }
        print_json({**run.model_dump(mode="json"), "seconds": run.seconds, **kept})
        return
    console.print(f"[bold]{run.id}[/]  [{STYLES[run.status]}]{run.status}[/]  {escape(run.command)}", soft_wrap=True)
    console.print(
        f"by {run.owner} (pid {run.pid}), {utc(run.started)} UTC, took {_took(run)}, "
        f"{run.changes_done} of {counted(run.changes_total, 'change')}"
        + (f", attempt {run.attempt}" if run.attempt > 1 else ""), soft_wrap=True,
    )  # fmt: skip
    console.print(f"scs {run.scs}" if run.scs else EARLIER, soft_wrap=True)
    if run.inventory:
        console.print(f"inventory {run.inventory}", soft_wrap=True)
    for line in _inputs(environment, run):
        console.print(line, soft_wrap=True)
    if run.message:
        console.print(run.message, markup=False, soft_wrap=True)
    if probes:
        measured.show_measured(probes)
    if plan:
        _show_planned(planned)
        return
    if not run.details:
        console.print("its steps were removed: see keep.run_details in environment.yml")
    if not steps:
        return
    rows = [
        (str(s.sequence), f"{s.started.astimezone(UTC):%H:%M:%S}", s.phase, s.task, s.host, s.subject,
         _seconds(s.seconds), Text(s.status, STYLES[s.status]), s.message)
        for s in steps
    ]  # fmt: skip
    show_table(console, STEP_COLUMNS, rows)


def _show_planned(planned: list[dict[str, Any]]) -> None:
    from scs_deploy.cli._plans import show_changes
    from scs_deploy.plan.change import Change

    if not planned:
        console.print("no plan is recorded for this run")
        return
    show_changes([Change.model_validate(change) for change in planned])


@app.command(epilog="Example: scs runs diff 6h2k9qw3x 6h3m4ab7p")
def diff(
    old: Annotated[str, typer.Argument(metavar="RUN", help="The earlier run.")],
    new: Annotated[str | None, typer.Argument(metavar="RUN", help="The later run. Default: the latest.")] = None,
    environment: EnvironmentOption = None,
    json: JsonOption = False,
) -> None:
    """Show what differs between two runs: versions, images with packages, overrides, and what each one changed."""
    from scs_deploy.cli import _lockdiff
    from scs_deploy.operations.runs_difference import compare
    from scs_deploy.secrets import store as secrets

    region, store = load_environment(environment), _store(environment)
    runs = (store.get(old), store.get(new))
    planned = {run.id: store.planned(run.id) for run in runs}
    known = region.secrets_file.is_file() and not sharing.secrets_are_hidden(region)
    made = compare(region, *runs, planned, secrets.load(region).values() if known else ())
    if json:
        print_json(made.model_dump(mode="json"))
        return
    for run in runs:
        console.print(f"{run.id}  {utc(run.started)} UTC  {run.command}", markup=False)
    for each in made.versions:
        console.print(f"{each.name}: {each.old} -> {each.new}", markup=False, soft_wrap=True)
    if made.images:
        _lockdiff.show(made.images)
    lines = [*(f"override {line}" for line in made.overrides), *(f"only {made.old}: {c}" for c in made.only_old),
             *(f"only {made.new}: {c}" for c in made.only_new), *(f"unknown: {u}" for u in made.unknown)]  # fmt: skip
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if not (made.versions or made.images or lines):
        console.print("no difference")


@app.command(epilog="Example: scs runs pause")
def pause(environment: EnvironmentOption = None) -> None:
    """Pause the current run before its next play, or before the next host of a play."""
    from scs_deploy.engine import execute

    region = load_environment(environment)
    sharing.check_may_change(region)
    run = recorded(region).get(changing=True)
    if run.status is not Status.RUNNING:
        raise RefusedError(f"no run is in progress in {region.name}", "scs runs list")
    if not run.resume:
        raise RefusedError(f"run {run.id} (`{run.command}`) cannot be paused", "wait until it ends, or interrupt it")
    execute.pause(region, run.id, f"requested by {process.owner()}")
    console.print(f"run {run.id} pauses before its next play")


@app.command(epilog="Example: scs runs resume --yes")
def resume(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Run to resume. Default: the latest.")] = None,
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

    given = max_failed_requests is not None or no_probe or ping
    probe = measured.options(max_failed_requests, no_probe, ping) if given else None
    region = load_region(environment)
    operation, run = resumption(region, run_id, probe)
    check_terminal(yes)
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
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Run to abandon. Default: the latest.")] = None,
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
    return _seconds(run.seconds)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
