# SPDX-License-Identifier: Apache-2.0
"""Recovers the cluster of a service, and checks afterwards that it is healthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from scs_deploy import clusters
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import Procedure, Recovery, RecoveryOptions, RecoveryStep
from scs_deploy.engine.access import INTERVAL, Access, saying
from scs_deploy.engine.events import Expected, Watch, guarded, ignore
from scs_deploy.operations.base import Operation, Session, Step, always_agree
from scs_deploy.region.region import Region
from scs_deploy.state.runs import Run

SETTLE = 45.0
"""Seconds for a member that was just started to come up."""

ROUNDS = 4
"""Maximum number of partial recoveries in a row."""


@dataclass(frozen=True)
class Recovered:
    """How a recovery ended."""

    found: Recovery
    """before the first step"""
    after: Recovery
    """after the last step; same as `found` if nothing was changed"""
    run: str = ""
    """id of the run; '' if nothing was changed"""


class RecoverRequest(Model):
    """Which service's cluster to recover, and with which options."""

    service: str
    options: dict[str, Any] = Field(default_factory=dict, description="values of the driver's options")


class Recover(Operation[RecoverRequest, Recovery, Recovered]):
    """Recovers a service's cluster, and checks afterwards that nothing remains to be recovered.

    `confirm` receives the steps, and further ones after a partial recovery.

    :param procedure: replaces the one of the service's driver
    :raises RefusedError: the service has no cluster with a recovery, or the options contradict each other
    """

    name = "recover"
    requests = RecoverRequest
    repeat = "repeat the command: it reads the members again, and does what remains"

    def __init__(
        self, region: Region, request: RecoverRequest, command: str = "", procedure: Procedure | None = None
    ) -> None:
        super().__init__(region, request, command or f"scs recover {request.service}")
        self.procedure = procedure or procedure_of(region, request)
        self._confirm: Callable[[Recovery], bool] = always_agree

    def plan(self, watch: Watch = ignore) -> Recovery:
        """What a recovery would do. Changes nothing.

        :raises RefusedError: the right recovery is unknown, or the operator must choose it
        :raises ScsError: members could not be read
        """
        return self.procedure.decide(_settled(Access(self.region, saying(guarded(watch))), self.procedure))

    def total(self, plan: Recovery) -> int:
        """See Operation."""
        return len(plan.steps)

    def empty_result(self, plan: Recovery) -> Recovered:
        """See Operation."""
        return Recovered(plan, plan)

    def execute(
        self,
        session: Session,
        confirm: Callable[[Recovery], bool] = always_agree,
        plan: Recovery | None = None,
        resumed: Run | None = None,
    ) -> Recovered:
        """See Operation."""
        self._confirm = confirm
        return super().execute(session, confirm, plan, resumed)

    def carry_out(self, session: Session, plan: Recovery) -> Recovered:
        """See Operation.

        :raises RefusedError: the procedure or the operator refuses to continue
        :raises ScsError: a step failed, or the cluster is still unhealthy
        """
        access = Access(self.region, saying(session.emit))
        return Recovered(plan, self._rounds(session, access, plan), session.record.id)

    def _rounds(self, session: Session, access: Access, found: Recovery) -> Recovery:
        procedure, current = self.procedure, found
        for _ in range(ROUNDS):
            session.carry_out("recover", [self._step(access, s) for s in current.steps])
            try:
                seen = procedure.decide(_settled(access, procedure))
                if seen.steps and current.partial and not self._confirm(seen):
                    raise RefusedError("recovery cancelled", "members that it stopped for inspection are started again")
            except RefusedError:
                if current.partial:
                    procedure.put_back(access)
                raise
            if not seen.steps:
                return seen
            if not current.partial:
                raise ScsError(
                    f"{procedure.service} is still unhealthy after the recovery: {seen.summary}",
                    f"scs recover {procedure.service} --plan",
                )
            session.record.expect(len(seen.steps))
            session.emit(Expected(len(seen.steps)))
            current = seen
        raise ScsError(f"{procedure.service}: no progress after {ROUNDS} attempts: {current.summary}")

    def _step(self, access: Access, step: RecoveryStep) -> Step:
        return Step(step.container or step.action, step.what, lambda: self.procedure.act(access, step), step.hosts)


def procedure_of(region: Region, request: RecoverRequest) -> Procedure:
    """The recovery procedure of a service.

    :raises RefusedError: it has no cluster driver, the driver has no recovery, or the options contradict each other
    """
    driver = clusters.of(region).get(request.service)
    if driver is None:
        raise RefusedError(f"{request.service} has no cluster to recover", "scs apply")
    options = (driver.OPTIONS or RecoveryOptions).model_validate(request.options)
    options.check()
    return driver.recovery(options)


def _settled(access: Access, procedure: Procedure) -> Any:
    """The members, once none is expected to change without help, or after SETTLE seconds."""
    deadline = time.monotonic() + SETTLE
    while True:
        access.say("now", f"reading the members of {procedure.service}")
        members = procedure.read(access)
        waiting = procedure.settling(members)
        if not waiting or time.monotonic() > deadline:
            return members
        access.say("now", waiting)
        time.sleep(INTERVAL)
