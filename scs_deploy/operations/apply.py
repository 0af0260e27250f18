# SPDX-License-Identifier: Apache-2.0
"""Applies a plan as one run: locked, recorded, measured, verified, and resumable."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.engine import execute
from scs_deploy.engine.events import Note, Stage, Watch, ignore
from scs_deploy.engine.observe import make_plan
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import saved_plan
from scs_deploy.operations.base import Operation, Session
from scs_deploy.plan.change import REGION
from scs_deploy.plan.region import Plan
from scs_deploy.prober import watch as probing
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region import options
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.shared import revisions
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.container import Impact
from scs_deploy.state import snapshot
from scs_deploy.state.runs import RunRecord, RunStore


@dataclass(frozen=True)
class Applied:
    """How an apply ended."""

    run: str
    """id of the run; '' if there was nothing to do"""
    changes: int
    held: int


class ApplyRequest(Model):
    """Which part of a region to bring to its desired state, and how to measure the region during the run."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    probe: ProbeOptions = ProbeOptions()

    @property
    def selection(self) -> Selection:
        """The part of the region that the run may change."""
        return Selection(self.services, self.hosts, self.allow)


Request = TypeVar("Request", bound=ApplyRequest)


class Converge(Operation[Request, Plan, Applied], Generic[Request]):
    """Brings the selected part of a region to its desired state by making exactly the changes of a plan."""

    strict = True
    """whether an unknown option in an override is refused, if the environment says so"""

    def plan(self, watch: Watch = ignore) -> Plan:
        """See Operation.

        :raises RefusedError: an override has an option that its service does not read
        """
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
        return Applied("", 0, len(plan.held))

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
        with measured(self.region, self.request.probe, session, plan):
            self._change(session, plan)
        return Applied(session.record.id, len(plan.changes), len(plan.held))

    def _change(self, session: Session, plan: Plan) -> None:
        left = plan
        if plan.changes:
            execute.execute(self.region, plan, session.record, session.emit, session.check)
            session.emit(Stage("verifying that no changes remain"))
            left = make_plan(self.region, self.request.selection, shared_state.PATIENCE)
        if left.changes and all(c.host == REGION for c in left.changes):
            # shared state of a server that this run brought back could not be compared before
            execute.execute(self.region, left, session.record, session.emit, session.check)
            left = make_plan(self.region, self.request.selection, shared_state.PATIENCE)
        if left.changes:
            first = left.changes[0]
            raise ScsError(
                f"{counted(len(left.changes), 'change')} still pending after the run, first: "
                f"{first.kind} {first.subject} on {first.host}: {first.reason}",
                "scs plan",
            )


class Apply(Converge[ApplyRequest]):
    """`scs apply`."""

    name = "apply"
    requests = ApplyRequest


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
