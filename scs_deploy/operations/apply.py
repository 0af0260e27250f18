# SPDX-License-Identifier: Apache-2.0
"""Applies a plan as one run: locked, recorded, measured, verified, and resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.engine import execute
from scs_deploy.engine.events import Note, Stage, Watch, ignore
from scs_deploy.engine.observe import make_plan
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import alert_watch, saved_plan
from scs_deploy.operations.base import Operation, Session, always_agree
from scs_deploy.plan.change import REGION
from scs_deploy.plan.region import Plan
from scs_deploy.prober import watch as probing
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region import options
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.region.sources import ChangedError
from scs_deploy.secrets import pki
from scs_deploy.shared import revisions
from scs_deploy.shared import state as shared_state
from scs_deploy.shared.monitoring import ALERTS
from scs_deploy.spec.container import Impact
from scs_deploy.state import snapshot
from scs_deploy.state.runs import Run, RunRecord, RunStore


@dataclass(frozen=True)
class Applied:
    """How an apply ended."""

    run: str
    """id of the run; '' if there was nothing to do"""
    changes: int
    held: int
    unreachable: tuple[str, ...] = ()
    """hosts whose changes wait until they respond"""


class ApplyRequest(Model):
    """Which part of a region to bring to its desired state, and how to measure the region during the run."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    data_loss: tuple[str, ...] = ()
    probe: ProbeOptions = ProbeOptions()

    @property
    def selection(self) -> Selection:
        """The part of the region that the run may change."""
        return Selection(self.services, self.hosts, self.allow, self.data_loss)


Request = TypeVar("Request", bound=ApplyRequest)


class Converge(Operation[Request, Plan, Applied], Generic[Request]):
    """Brings the selected part of a region to its desired state by making exactly the changes of a plan."""

    strict = True
    """whether an unknown option in an override is refused, if the environment says so"""

    def plan(self, watch: Watch = ignore) -> Plan:
        """See Operation.

        :raises RefusedError: an override has an option that its service does not read, or alerts cannot be watched
        """
        if self.request.probe.max_alerts is not None and ALERTS not in self.region.catalog.services:
            raise RefusedError("--max-alerts: this region has no monitoring", "docs/how-to/monitoring.md")
        for warning in options.check(self.region, self.strict):
            watch(Note(f"warning: {warning}"))
        watch(Stage("planning"))
        return make_plan(self.region, self.request.selection)

    def total(self, plan: Plan) -> int:
        """See Operation."""
        return len(plan.changes)

    def check_same(self, shown: Plan, current: Plan) -> None:
        """See Operation.

        :raises RefusedError: the plans differ; names the changes
        """
        saved_plan.check_same(shown, current)

    def empty_result(self, plan: Plan) -> Applied:
        """See Operation."""
        return Applied("", 0, len(plan.held), tuple(plan.unreachable))

    def start(self, store: RunStore, plan: Plan) -> RunRecord:
        """Start the record, with what a rollback needs: the inputs and the revisions of the schemas."""
        schemas = revisions.read(self.region)
        snapshot.keep(self.region.environment, inputs(self.region), specs(self.region))
        return store.start(
            self.command, changes_total=len(plan.changes), inputs=inputs(self.region),
            inventory=self.region.inventory.hash, secrets=self.secrets(), operation=self.name,
            resume=self.request.model_dump_json(), follows=True,
            revisions="" if schemas is None else json.dumps(schemas, sort_keys=True),
        )  # fmt: skip

    def carry_out(self, session: Session, plan: Plan) -> Applied:
        """See Operation.

        :raises ScsError: a change failed, or the region is not in its desired state afterwards
        """
        environment, run, probe = self.region.environment, session.record.id, self.request.probe
        alerts = alert_watch.watched(
            self.region, alert_watch.expected(self.region, plan), f"run {run}", lambda said: session.emit(Note(said)),
            probe.max_alerts, lambda why: execute.pause(environment, run, why),
        )  # fmt: skip
        with alerts, measured(self.region, probe, session, plan):
            self._change(session, plan)
        return Applied(session.record.id, len(plan.changes), len(plan.held), tuple(plan.unreachable))

    def _change(self, session: Session, plan: Plan) -> None:
        left = plan
        if plan.changes:
            execute.execute(self.region, plan, session.record, session.emit, session.check)
            session.emit(Stage("verifying that no changes remain"))
            left = self._left()
        if left.changes and all(c.host == REGION for c in left.changes):
            # shared state of a server that this run brought back could not be compared before
            execute.execute(self.region, left, session.record, session.emit, session.check)
            left = self._left()
        if lost := left.unreachable.keys() - plan.unreachable.keys():
            raise ScsError(
                f"{', '.join(sorted(lost))} became unreachable during the run: its changes are not verified",
                "scs plan; the next scs apply goes on without it",
            )
        if left.changes:
            first = left.changes[0]
            raise ScsError(
                f"{counted(len(left.changes), 'change')} still pending after the run, first: "
                f"{first.kind} {first.subject} on {first.host}: {first.reason}",
                "scs plan",
            )

    def _left(self) -> Plan:
        """The plan after the changes, which is empty if the region is in its desired state.

        :raises ScsError: a file was edited during the run: what the run was to reach is no longer what is desired
        """
        try:
            return make_plan(self.region, self.request.selection, shared_state.PATIENCE)
        except ChangedError as error:
            why = error.message.replace("since this plan was made", "during the run")
            raise ScsError(
                f"the changes of the plan are made, but not verified: {why}", "scs plan shows what the new files change"
            ) from None


class Apply(Converge[ApplyRequest]):
    """`scs apply`.

    While groups of hosts exchange the CA of their certificates, one plan follows the other until all have the new one.
    """

    name = "apply"
    requests = ApplyRequest

    def execute(
        self,
        session: Session,
        confirm: Callable[[Plan], bool] = always_agree,
        plan: Plan | None = None,
        resumed: Run | None = None,
    ) -> Applied:
        """See Operation."""
        agreed = True

        def ask(made: Plan) -> bool:
            nonlocal agreed
            agreed = confirm(made)
            return agreed

        done = super().execute(session, ask, plan, resumed)
        while agreed and not (done.held or done.unreachable) and self._next_stage(session):
            more = super().execute(session, ask)
            done = replace(more, run=more.run or done.run, changes=done.changes + more.changes)
        return done

    def _next_stage(self, session: Session) -> bool:
        """Whether groups went on to the next stage of their exchange, which this operation then applies."""
        environment = self.region.environment
        if self.request.services or self.request.hosts or not environment.certificates_file.exists():
            return False
        session.check()
        moved = pki.advance(environment) if pki.moving(environment) else []
        if moved:
            session.emit(
                Note(f"every host has this step of new certificates, the next one follows: {', '.join(moved)}")
            )
            self.region = Region.load(environment.name)
        return bool(moved)


def measured(region: Region, options: ProbeOptions, session: Session, plan: Plan) -> AbstractContextManager[object]:
    """Measures the region until the block ends, unless measuring is disabled or impossible.

    The run pauses before its next play once too many requests have failed.
    """
    if not options.enabled or not plan.changes or "keystone" not in region.catalog.services:
        return nullcontext()
    environment, run = region.environment, session.record.id
    files = {"samples": probe_log(environment, run), "lock": environment.state / "prober.lock"}
    job = probing.probe_job(region, options.ping).model_copy(update=files)
    return probing.watching(
        job, options, session.record, session.emit, lambda why: execute.pause(environment, run, why)
    )


def probe_log(environment: Environment, run: str) -> Path:
    """The log of a run's prober: a line of JSON for each request, with its kind, start, seconds and error."""
    file = execute.folder_of(environment, run) / "probe.jsonl"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return file
