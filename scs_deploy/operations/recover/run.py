# SPDX-License-Identifier: Apache-2.0
"""A recovery as a run: the region's lock, a record, steps, and a second look that nothing is left to recover."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scs_deploy import clusters
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.clusters.base import Procedure, Recovery, RecoveryOptions
from scs_deploy.engine.access import INTERVAL, saying
from scs_deploy.engine.events import Watch, guarded, ignore
from scs_deploy.operations.base import Operation, Session
from scs_deploy.operations.recover.session import Session as Hosts
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region

SETTLE = 45.0
"""Seconds in which a member that was started shows whether it comes up."""

ROUNDS = 4
"""Partial recoveries after which it is certain that looking again brings nothing new."""


@dataclass(frozen=True)
class Recovered:
    """How it ended."""

    found: Recovery
    """before the first step"""
    after: Recovery
    """what the second look saw; `found` when nothing was changed"""
    run: str = ""
    """the run's id; '' when nothing was changed"""


def procedure(region: Region, service: str, options: RecoveryOptions) -> Procedure:
    """How a service of the region is recovered.

    :raises RefusedError: it has no cluster driver, or the driver has no recovery
    """
    driver = clusters.of(region).get(service)
    if driver is None:
        raise RefusedError(f"{service} has no cluster to recover", "scs apply")
    return driver.recovery(options)


class Recover(Operation[Recovery, Recovered]):
    """Brings a service's cluster back, and looks again that nothing is left to recover."""

    name = "recover"
    repeat = "repeat the command: it reads the members again, and does what is left"

    def __init__(self, region: Region, procedure: Procedure) -> None:
        super().__init__(region, f"scs recover {procedure.service}")
        self.procedure = procedure

    def plan(self, watch: Watch = ignore) -> Recovery:
        """What a recovery would do. Changes nothing.

        :raises RefusedError: it would be refused
        :raises ScsError: reading failed
        """
        hosts = Hosts(self.region, saying(guarded(watch)))
        return self.procedure.decide(_settled(hosts, self.procedure))

    def execute(self, session: Session, confirm: Callable[[Recovery], bool]) -> Recovered:
        """See Operation.

        :param confirm: is shown what will be done; asked again when a partial recovery has read more
        :raises RefusedError: the procedure refuses
        :raises ScsError: a step failed, or something is left to recover
        """
        hosts = Hosts(self.region, saying(session.emit), still_ours=session.check)
        found = self.procedure.decide(_settled(hosts, self.procedure))
        if not found.steps or not confirm(found):
            return Recovered(found, found)
        with session.recording(self.start(len(found.steps))) as record:
            hosts.record = record
            after = _rounds(hosts, self.procedure, found, confirm)
        return Recovered(found, after, record.id)


def _rounds(hosts: Hosts, procedure: Procedure, found: Recovery, confirm: Callable[[Recovery], bool]) -> Recovery:
    current, total = found, len(found.steps)
    for _ in range(ROUNDS):
        for step in current.steps:
            hosts.carry_out(step, procedure.act)
        try:
            seen = procedure.decide(_settled(hosts, procedure))
            if seen.steps and current.partial and not confirm(seen):
                raise RefusedError("not gone on with", "nothing but what was stopped for reading has been changed")
        except RefusedError:
            if current.partial:
                procedure.put_back(hosts)
            raise
        if not seen.steps:
            return seen
        if not current.partial:
            raise ScsError(
                f"{procedure.service} is not as it should be after the recovery: {seen.summary}",
                f"scs recover {procedure.service} --plan",
            )
        total += len(seen.steps)
        assert hosts.record
        hosts.record.plan(total, inputs(hosts.region))
        current = seen
    raise ScsError(f"{procedure.service}: looking again brings nothing new: {current.summary}")


def _settled(hosts: Hosts, procedure: Procedure) -> Any:
    """The members, once none is about to change by itself, or after SETTLE seconds."""
    deadline = time.monotonic() + SETTLE
    while True:
        hosts.say("now", f"reading the members of {procedure.service}")
        members = procedure.read(hosts)
        waiting = procedure.settling(members)
        if not waiting or time.monotonic() > deadline:
            return members
        hosts.say("now", waiting)
        time.sleep(INTERVAL)
