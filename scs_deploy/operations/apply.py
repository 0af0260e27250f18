# SPDX-License-Identifier: Apache-2.0
"""Plan and apply as one run: locked, recorded, measured, verified, and resumed when it did not reach its end."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.engine import execute
from scs_deploy.engine.events import Stage, Watch, ignore
from scs_deploy.engine.observe import make_plan
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import saved_plan
from scs_deploy.operations.base import Operation, Session
from scs_deploy.plan.change import REGION
from scs_deploy.plan.region import Plan
from scs_deploy.prober import watch as probing
from scs_deploy.prober.watch import ProbeOptions
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
    """A finished run."""

    run: str
    """its id; '' when there was nothing to do"""
    changes: int
    held: int


class ApplyRequest(Model):
    """What of a region to bring to its desired state, and how it is measured meanwhile."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    probe: ProbeOptions = ProbeOptions()

    @property
    def selection(self) -> Selection:
        """What of the region the run may change."""
        return Selection(self.services, self.hosts, self.allow)


Request = TypeVar("Request", bound=ApplyRequest)


class Converge(Operation[Request, Plan, Applied], Generic[Request]):
    """Brings the selected part of a region to its desired state; a plan is exactly what it changes."""

    def plan(self, watch: Watch = ignore) -> Plan:
        """See Operation."""
        watch(Stage("planning"))
        return make_plan(self.region, self.request.selection)

    def total(self, plan: Plan) -> int:
        """See Operation."""
        return len(plan.changes)

    def check_same(self, then: Plan, now: Plan) -> None:
        """See Operation.

        :raises RefusedError: naming the changes that came or went since
        """
        saved_plan.check_same(then, now)

    def nothing(self, plan: Plan) -> Applied:
        """See Operation."""
        return Applied("", 0, len(plan.held))

    def start(self, store: RunStore, plan: Plan) -> RunRecord:
        """With what a rollback needs to know: the inputs themselves, and the schemas' revisions."""
        found = revisions.read(self.region)
        snapshot.keep(self.region.environment, inputs(self.region), specs(self.region))
        return store.start(
            self.command, changes_total=len(plan.changes), inputs=inputs(self.region),
            inventory=self.region.inventory.hash, secrets=self.secrets(), operation=self.name,
            resume=self.request.model_dump_json(), revisions="" if found is None else json.dumps(found, sort_keys=True),
            follows=True,
        )  # fmt: skip

    def carry_out(self, session: Session, plan: Plan) -> Applied:
        """See Operation.

        :raises ScsError: a change failed, or the region is not as desired afterwards
        """
        with measured(self.region, self.request.probe, session, plan):
            self._change(session, plan)
        return Applied(session.record.id, len(plan.changes), len(plan.held))

    def _change(self, session: Session, plan: Plan) -> None:
        left = plan
        if plan.changes:
            execute.execute(self.region, plan, session.record, session.emit, session.check)
            session.emit(Stage("verifying that nothing is left"))
            left = make_plan(self.region, self.request.selection, shared_state.PATIENCE)
        if left.changes and all(c.host == REGION for c in left.changes):
            # a server that this run brought back could not be compared before
            execute.execute(self.region, left, session.record, session.emit, session.check)
            left = make_plan(self.region, self.request.selection, shared_state.PATIENCE)
        if left.changes:
            first = left.changes[0]
            raise ScsError(
                f"{len(left.changes)} changes are left after the run, first: "
                f"{first.kind} {first.subject} on {first.host}: {first.reason}",
                "scs plan",
            )


class Apply(Converge[ApplyRequest]):
    """`scs apply`."""

    name = "apply"
    requests = ApplyRequest


def measured(region: Region, options: ProbeOptions, session: Session, plan: Plan) -> AbstractContextManager[object]:
    """The region is measured until the block ends, where it can be and the operator wants it.

    A run that fails too many requests pauses before its next play.
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
    """Every request that a run's prober made, as lines of JSON: kind, start and seconds, error where it failed."""
    file = execute.folder_of(environment, run) / "probe.jsonl"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return file
