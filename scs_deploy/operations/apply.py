# SPDX-License-Identifier: Apache-2.0
"""Plan and apply as one run: locked, recorded, measured, verified, and resumed when it did not reach its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.engine import execute
from scs_deploy.engine.events import Stage
from scs_deploy.engine.observe import make_plan
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import Operation, Session
from scs_deploy.plan.change import REGION
from scs_deploy.plan.region import Plan
from scs_deploy.prober import watch as probing
from scs_deploy.prober.watch import Options
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.shared import revisions
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.container import Impact
from scs_deploy.state import snapshot
from scs_deploy.state.runs import Run, RunRecord, Status, run_store

OPEN = (Status.PAUSED, Status.FAILED, Status.INTERRUPTED)
"""How a run stands that can be resumed."""


@dataclass(frozen=True)
class Applied:
    """A finished run."""

    run: str
    """its id; '' when there was nothing to do"""
    changes: int
    held: int


class ApplyRequest(Model):
    """What of a region is brought to its desired state, and how. A run's record keeps it for its resumption."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    probe: Options = Options()

    @property
    def selection(self) -> Selection:
        """What of the region the run may change."""
        return Selection(self.services, self.hosts, self.allow)


class Apply(Operation[Plan, Applied]):
    """Bring the selected part of a region to its desired state: one run, measured and verified.

    :param check: is given the plan, and refuses one that must not be carried out
    """

    name = "apply"

    def __init__(
        self, region: Region, request: ApplyRequest = ApplyRequest(), command: str = "scs apply",
        check: Callable[[Plan], None] = lambda _plan: None,
    ) -> None:  # fmt: skip
        super().__init__(region, command)
        self.request = request
        self.check = check

    def plan(self) -> Plan:
        """See Operation."""
        plan = make_plan(self.region, self.request.selection)
        self.check(plan)
        return plan

    def execute(self, session: Session, confirm: Callable[[Plan], bool]) -> Applied:
        """See Operation.

        :raises PausedError: too many requests failed, or the operator paused it; can be resumed
        :raises ScsError: a change failed, or the region is not as desired afterwards
        """
        plan = self.plan()
        if not plan.changes or not confirm(plan):
            return Applied("", 0, len(plan.held))
        found = revisions.read(self.region)
        snapshot.keep(self.region.environment, inputs(self.region), specs(self.region))
        before = "" if found is None else json.dumps(found, sort_keys=True)
        start = self.start(len(plan.changes), resume=self.request.model_dump_json(), revisions=before)
        with session.recording(start) as record:
            self._carry_out(session, plan, record)
        return Applied(record.id, len(plan.changes), len(plan.held))

    def _carry_out(self, session: Session, plan: Plan, record: RunRecord) -> None:
        """Execute, and look again that nothing is left."""
        region, selection = self.region, self.request.selection
        with _probed(region, self.request.probe, record, session, plan):
            left = plan
            if plan.changes:
                execute.execute(region, plan, record, session.emit, session.check)
                session.emit(Stage("verifying that nothing is left"))
                left = make_plan(region, selection, shared_state.PATIENCE)
            if left.changes and all(c.host == REGION for c in left.changes):
                # a server that this run brought back could not be compared before
                execute.execute(region, left, record, session.emit, session.check)
                left = make_plan(region, selection, shared_state.PATIENCE)
            if left.changes:
                first = left.changes[0]
                raise ScsError(
                    f"{len(left.changes)} changes are left after the run, first: "
                    f"{first.kind} {first.subject} on {first.host}: {first.reason}",
                    "scs plan",
                )


class Resume(Apply):
    """Go on with a run that was paused, failed or interrupted: what is left of it, under its own record.

    :param run: its id; None: the latest
    :param probe: instead of the options that the run had
    """

    def __init__(self, region: Region, run: str | None = None, probe: Options | None = None) -> None:
        super().__init__(region, ApplyRequest(), "scs runs resume")
        self.run_id, self.probe = run, probe

    def execute(self, session: Session, confirm: Callable[[Plan], bool]) -> Applied:
        """See Apply.

        :raises RefusedError: there is no such run, it cannot be resumed, or another one came after it
        """
        environment = self.region.environment
        with run_store(environment) as store:
            found = store.get(self.run_id, changing=True)
            check_resumable(found, next(iter(store.list(1, changing=True)), found))
        self.request = ApplyRequest.model_validate_json(found.resume)
        if self.probe is not None:
            self.request = self.request.model_copy(update={"probe": self.probe})
        execute.go_on(environment, found.id)
        plan = self.plan()
        if not confirm(plan):
            return Applied("", 0, len(plan.held))
        with session.recording(self.start(len(plan.changes)), again=found) as record:
            self._carry_out(session, plan, record)
        return Applied(record.id, len(plan.changes), len(plan.held))


def check_resumable(run: Run, latest: Run) -> None:
    """Whether a run may be resumed.

    :raises RefusedError: why not
    """
    if run.status not in OPEN:
        hint = "scs runs list" if run.status is Status.RUNNING else "scs plan shows what differs now"
        raise RefusedError(f"run {run.id} is {run.status}, there is nothing to resume", hint)
    if not run.resume:
        said = f"run {run.id} (`{run.command}`) cannot be resumed"
        raise RefusedError(said, run.repeat or "repeat the command: it finds out what is done already")
    if run.id != latest.id:
        raise RefusedError(
            f"run {latest.id} (`{latest.command}`) came after {run.id}", "scs apply does all that is left now"
        )


def _probed(
    region: Region, options: Options, record: RunRecord, session: Session, plan: Plan
) -> AbstractContextManager[object]:
    if not options.enabled or not plan.changes or "keystone" not in region.catalog.services:
        return nullcontext()
    environment = region.environment
    files = {"samples": probe_log(environment, record.id), "lock": environment.state / "prober.lock"}
    job = probing.probe_job(region, options.ping).model_copy(update=files)
    return probing.watching(job, options, record, session.emit, lambda w: execute.pause(environment, record.id, w))


def probe_log(environment: Environment, run: str) -> Path:
    """Every request that a run's prober made, as lines of JSON: kind, start and seconds, error where it failed."""
    file = execute.folder_of(environment, run) / "probe.jsonl"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return file
