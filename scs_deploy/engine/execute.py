# SPDX-License-Identifier: Apache-2.0
"""Carrying out a plan: its playbook, step by step into the record, servers taken back after a failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import PausedError, ScsError
from scs_deploy.engine import playbook, runner
from scs_deploy.engine.events import TaskDone, TaskFailed, TaskStarted, Watch, guarded
from scs_deploy.engine.observe import pinned
from scs_deploy.environment.environment import Environment
from scs_deploy.plan import ordering as order
from scs_deploy.plan import rolling
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.state.runs import RunRecord, Status


def execute(region: Region, plan: Plan, record: RunRecord, watch: Watch, still_ours: Callable[[], None]) -> None:
    """Carry out exactly the plan.

    :param still_ours: asked before every play; raises when another run has taken the region meanwhile
    :raises ScsError: a task failed; names host and reason. What came before it is done and recorded.
    """
    watch = guarded(watch)
    plays = playbook.plays(plan, region.catalog.waves, rolling.of(region), order.of(region))
    base = folder_of(region.environment, record.id)
    folder = base / str(len(list(base.glob("[0-9]*"))) + 1)
    folder.mkdir(parents=True, mode=0o700)
    _forget_old(base.parent)
    (folder / "playbook.yml").write_text(playbook.text(plays), encoding="utf-8")
    weights = {(p["name"], t["name"]): _weight(p, t) for p in plays for t in p["tasks"]}
    open_steps: dict[tuple[str, str], int] = {}
    drained = ""

    def handle(event: runner.Event) -> None:
        nonlocal drained
        kind, data = event.get("event"), event.get("event_data") or {}
        task, host = str(data.get("task", "")), str(data.get("host", ""))
        if kind == "playbook_on_play_start":
            still_ours()
            if str(data.get("play", "")).partition(":")[0] not in ("roll", "use"):
                drained = ""
        elif kind == "playbook_on_task_start":
            watch(TaskStarted(task, str(data.get("play", "")).partition(":")[0]))
            if str(data.get("play", "")).startswith("drain:"):
                drained = task
        elif kind == "runner_on_start":
            phase = str(data.get("play", "")).partition(":")[0]
            open_steps[(task, host)] = record.step_started(task, phase=phase, host=host)
        elif kind in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
            step = open_steps.pop((task, host), None)
            good = kind == "runner_on_ok"
            message = "" if good else runner.message_of(data.get("res") or {})
            done = weights.get((str(data.get("play", "")), task), 0) if good else 0
            if step is not None:
                record.step_finished(step, Status.DONE if good else Status.FAILED, message, done)
            watch(TaskDone(task, host, done) if good else TaskFailed(task, host, message))

    def take_back() -> None:
        again = playbook.take_back(plays, drained, result.unreachable)
        if again:
            # what fails here, the next plan finds
            runner.run_playbook(region.environment, again, on_event=handle)

    gate = base / PAUSE
    result = runner.run_playbook(
        region.environment,
        plays,
        on_event=handle,
        private=folder,
        variables={**pinned(region), "SCS_RUN_PAUSE": str(gate)},
    )
    if gate.exists() and not result.failures and not result.unreachable:
        why = gate.read_text(encoding="utf-8").strip()
        gate.unlink()
        if not result.ok:
            raise PausedError(
                f"paused before the next play: {why}", f"scs runs resume {record.id}, or scs runs abandon {record.id}"
            )
    if not result.ok:
        take_back()
    if result.unreachable:
        said = runner.summary(result.unreachable, verb="became unreachable")
        raise ScsError(
            said, f"what was done is in `scs runs show {record.id}`; apply again or `scs runs resume` to go on"
        )
    if result.failures:
        said = runner.summary(result.failures)
        raise ScsError(
            said, f"mend it, then apply again or `scs runs resume`; `scs runs show {record.id}` tells what was done"
        )
    if not result.ok:
        raise ScsError(f"Ansible ended as {result.status}: {' '.join(result.output.split())[-600:]}")


PAUSE = "pause"
"""File in a run's folder: the run stops before its next play and says what stands in it."""


def folder_of(environment: Environment, run: str) -> Path:
    """Where a run's playbooks and Ansible's output are."""
    return environment.state / "runs" / run


def pause(environment: Environment, run: str, why: str) -> None:
    """Have a run stop before its next play; the scs.core.gate callback looks for it."""
    folder = folder_of(environment, run)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = folder / f"{PAUSE}.new"
    new.write_text(why + "\n", encoding="utf-8")
    new.replace(folder / PAUSE)


def go_on(environment: Environment, run: str) -> None:
    """Take a request to pause back: nobody saw it before the run ended."""
    (folder_of(environment, run) / PAUSE).unlink(missing_ok=True)


KEPT_RUNS = 100
"""Runs whose playbook and Ansible output stay; their records in the database stay for ever."""


def _forget_old(folder: Path) -> None:
    for old in sorted(folder.iterdir())[:-KEPT_RUNS]:
        shutil.rmtree(old, ignore_errors=True)


def _weight(play: dict[str, Any], task: dict[str, Any]) -> int:
    """How many changes of the plan a task holds; asking and draining are none."""
    if str(play["name"]).partition(":")[0] in playbook.AROUND:
        return 0
    arguments = next(v for k, v in task.items() if k != "name")
    if "scs.core.balancer" in task:
        return len(arguments["states"])
    others = str(play["name"]).endswith(": records")
    return sum(len(v) for k, v in arguments.items() if isinstance(v, list) and not (k == "record" and others))
