# SPDX-License-Identifier: Apache-2.0
"""`scs runs`: what was done in this region, when, by whom, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from scs_deploy import environment as environments
from scs_deploy.cli import measured
from scs_deploy.cli.common import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.state.runs import Run, RunStore, Status

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
    return RunStore(environments.load(environment).state / "runs.sqlite3")


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
    environment: EnvironmentOption = None,
    json: JsonOption = False,
) -> None:
    """Show a run and each of its steps with its duration."""
    store = _store(environment)
    run = store.get(run_id)
    steps, probes = store.steps(run.id), store.probes(run.id)
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
        f"{run.changes_done} of {run.changes_total} changes", soft_wrap=True,
    )  # fmt: skip
    if run.message:
        console.print(run.message, markup=False, soft_wrap=True)
    if probes:
        console.print(measured.table(probes))
        console.print(measured.total(probes), soft_wrap=True)
    if not steps:
        return
    table = Table("#", "Phase", "Task", "Host", "Subject", "Took", "Status", "Message", box=None, header_style="bold")
    for step in steps:
        table.add_row(
            str(step.sequence), step.phase, step.task, step.host, step.subject,
            duration(step.seconds), _status(step.status), step.message,
        )  # fmt: skip
    console.print(table)


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: `0.4 s`, `1 min 05 s`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _took(run: Run) -> str:
    if run.status is Status.RUNNING:
        return duration((datetime.now(UTC) - run.started).total_seconds()) + " so far"
    return duration(run.seconds)


def _status(status: Status) -> str:
    return f"[{STYLES[status]}]{status}[/]"
