# SPDX-License-Identifier: Apache-2.0
"""Carries out a plan: runs its playbook, records each step, and enables drained servers after a failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import PausedError
from scs_deploy.engine import playbook, runner
from scs_deploy.engine.events import TaskDone, TaskFailed, TaskStarted, Watch, guarded
from scs_deploy.engine.observe import pinned
from scs_deploy.engine.playbook import Play, Task
from scs_deploy.engine.runner import RunResult
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.region import Plan
from scs_deploy.plan.rolling import Rolling
from scs_deploy.region.region import INPUTS, Region
from scs_deploy.region.sources import ChangedError
from scs_deploy.state.runs import RunRecord, Status


def execute(region: Region, plan: Plan, record: RunRecord, watch: Watch, check_lock: Callable[[], None]) -> None:
    """Carry out exactly the plan.

    :param check_lock: called before every play; raises if another run has taken over the lock
    :raises ChangedError: a file that the plan was computed from has changed; nothing was done
    :raises ScsError: a task failed; names host and reason. Earlier tasks are done and recorded.
    """
    plays = playbook.plays(plan, region.catalog.waves, Rolling.of(region), Ordering.of(region))
    region.check_unchanged()
    try:
        run_plays(region.environment, plays, record, watch, check_lock, pinned(region))
    except ChangedError:
        # it happened while Ansible started; name the files
        region.check_unchanged()
        raise


def run_plays(
    environment: Environment, plays: Sequence[Play], record: RunRecord, watch: Watch, check_lock: Callable[[], None],
    variables: Mapping[str, str],
) -> None:  # fmt: skip
    """Run and record plays. After a failure, enables drained servers again.

    :param variables: environment variables of Ansible's process
    :raises PausedError: the run was told to stop before its next play
    :raises ScsError: a task failed
    """
    base = folder_of(environment, record.id)
    folder = base / str(len(list(base.glob("[0-9]*"))) + 1)
    folder.mkdir(parents=True, mode=0o700)
    _forget_old(base, environment.settings.keep.run_files)
    (folder / "playbook.yml").write_text(playbook.text(plays), encoding="utf-8")
    journal = Journal(plays, record, watch, check_lock)
    result = runner.run_playbook(
        environment,
        playbook.render(plays),
        on_event=journal.note,
        private=folder,
        variables={**variables, "SCS_RUN_PAUSE": str(base / PAUSE)},
    )
    if result.ok:
        # a file for each event, which only somebody who looks for a failure reads
        for events in folder.glob("artifacts/*/job_events"):
            shutil.rmtree(events, ignore_errors=True)
    _raise_paused(result, base / PAUSE, record.id)
    again = [] if result.ok else playbook.reenable(journal.drained, result.unreachable)
    if again:
        # the next plan finds what fails here; servers return also if a file has changed since
        journal = Journal(again, record, watch, check_lock)
        others = {name: value for name, value in variables.items() if name != INPUTS}
        runner.run_playbook(environment, playbook.render(again), on_event=journal.note, variables=others)
    hint = f"fix it, then apply again or `scs runs resume`; `scs runs show {record.id}` shows what was done"
    result.raise_for(changing=True, hint=hint)


class Journal:
    """Records and shows what Ansible does, from its events.

    Ansible's events name plays and tasks by their titles and by ids of its own. Both come in the order of the
    playbook, so a play is known by its number and a task by its number in the play, never by a title.
    """

    def __init__(self, plays: Sequence[Play], record: RunRecord, watch: Watch, check_lock: Callable[[], None]) -> None:
        self._plays, self._record, self._watch, self._check_lock = plays, record, guarded(watch), check_lock
        self._number, self._id = -1, ""
        self._task = -1
        self._steps: dict[str, int] = {}
        """host: step of the current task"""
        self.drained: Play | None = None
        """the play that took servers out of the load balancers which they do not use again yet"""

    @property
    def _now(self) -> tuple[Play, Task]:
        play = self._plays[self._number]
        return play, play.tasks[self._task]

    def note(self, event: runner.Event) -> None:
        """Process one event.

        :raises ScsError: another run has taken over the lock
        """
        kind, data = event.get("event"), event.get("event_data") or {}
        host = str(data.get("host", ""))
        if kind == "playbook_on_play_start":
            self._check_lock()
            self._play_started(str(data.get("play_uuid", "")))
        elif kind == "playbook_on_task_start":
            self._task += 1
            play, task = self._now
            self._watch(TaskStarted(task.title, play.label))
        elif kind == "runner_on_start":
            play, task = self._now
            self._steps[host] = self._record.step_started(task.title, phase=play.label, host=host, jobs=task.jobs)
        elif kind in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
            self._task_ended(host, kind == "runner_on_ok", data.get("res") or {})

    def _play_started(self, play: str) -> None:
        """A play, or a further batch of hosts of a serial one, whose id is the first batch's with a suffix.

        Source: ansible_runner/display_callback/callback/awx_display.py, v2_playbook_on_play_start.
        """
        self._task = -1
        if self._id and play.startswith(self._id):
            return
        self._number, self._id = self._number + 1, play
        found = self._plays[self._number]
        if found.drain:
            self.drained = found
        elif not found.together:
            self.drained = None

    def _task_ended(self, host: str, good: bool, result: Mapping[str, Any]) -> None:
        _, task = self._now
        message = "" if good else runner.message_of(result)
        done = len(task.changes) if good else 0
        step = self._steps.pop(host, None)
        if step is not None:
            self._record.step_finished(step, Status.DONE if good else Status.FAILED, message, done)
        self._watch(TaskDone(task.title, host, done) if good else TaskFailed(task.title, host, message))


def _raise_paused(result: RunResult, gate: Path, run: str) -> None:
    """Raise if the run stopped before a play because a pause was requested; drop a request that came too late."""
    if not gate.exists() or result.failures or result.unreachable:
        return
    why = gate.read_text(encoding="utf-8").strip()
    gate.unlink()
    if not result.ok:
        raise PausedError(f"paused before the next play: {why}", f"scs runs resume {run}, or scs runs abandon {run}")


PAUSE = "pause"
"""File in a run's folder: the run stops before its next play and reports the file's content."""


def folder_of(environment: Environment, run: str) -> Path:
    """The folder with a run's playbooks and Ansible's output."""
    return environment.state / "runs" / run


def pause(environment: Environment, run: str, why: str) -> None:
    """Request that a run stops before its next play. The callback scs.core.gate checks for the request."""
    folder = folder_of(environment, run)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = folder / f"{PAUSE}.new"
    new.write_text(why + "\n", encoding="utf-8")
    new.replace(folder / PAUSE)


def clear_pause(environment: Environment, run: str) -> None:
    """Remove a request to pause that the run did not see before it ended."""
    (folder_of(environment, run) / PAUSE).unlink(missing_ok=True)


def _forget_old(own: Path, kept: int) -> None:
    """Remove the folders of earlier runs, except the newest ones and the one of this run."""
    for old in sorted(own.parent.iterdir())[:-kept]:
        if old != own:
            shutil.rmtree(old, ignore_errors=True)
