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
from scs_deploy.engine.access import INTERVAL, Say
from scs_deploy.operations.recover.session import Session
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore

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


def plan(region: Region, procedure: Procedure, say: Say) -> Recovery:
    """What a recovery would do. Changes nothing.

    :raises RefusedError: it would be refused
    :raises ScsError: reading failed
    """
    session = Session(region, say)
    return procedure.decide(_settled(session, procedure))


def recover(
    region: Region, procedure: Procedure, say: Say, confirm: Callable[[Recovery], bool], command: str
) -> Recovered:
    """Read, decide, ask, do, and look again.

    :param confirm: is shown what will be done; asked again when a partial recovery has read more
    :raises RefusedError: another run holds the region, or the procedure refuses
    :raises ScsError: a step failed, or something is left to recover
    """
    state = region.environment.state
    state.mkdir(mode=0o700, exist_ok=True)
    with RunLock(state / "lock") as lock:
        session = Session(region, say, still_ours=lock.check)
        found = procedure.decide(_settled(session, procedure))
        if not found.steps or not confirm(found):
            return Recovered(found, found)
        store = RunStore(state / "runs.sqlite3")
        try:
            session.record = store.start(
                command, changes_total=len(found.steps), inputs=inputs(region), inventory=region.inventory.hash,
                secrets=region.secrets.values(),
            )  # fmt: skip
            with session.record.recording():
                after = _rounds(session, procedure, found, confirm)
            return Recovered(found, after, session.record.id)
        finally:
            store.close()


def _rounds(session: Session, procedure: Procedure, found: Recovery, confirm: Callable[[Recovery], bool]) -> Recovery:
    current, total = found, len(found.steps)
    for _ in range(ROUNDS):
        for step in current.steps:
            session.carry_out(step, procedure.act)
        try:
            seen = procedure.decide(_settled(session, procedure))
            if seen.steps and current.partial and not confirm(seen):
                raise RefusedError("not gone on with", "nothing but what was stopped for reading has been changed")
        except RefusedError:
            if current.partial:
                procedure.put_back(session)
            raise
        if not seen.steps:
            return seen
        if not current.partial:
            raise ScsError(
                f"{procedure.service} is not as it should be after the recovery: {seen.summary}",
                f"scs recover {procedure.service} --plan",
            )
        total += len(seen.steps)
        assert session.record
        session.record.plan(total, inputs(session.region))
        current = seen
    raise ScsError(f"{procedure.service}: looking again brings nothing new: {current.summary}")


def _settled(session: Session, procedure: Procedure) -> Any:
    """The members, once none is about to change by itself, or after SETTLE seconds."""
    deadline = time.monotonic() + SETTLE
    while True:
        session.say("now", f"reading the members of {procedure.service}")
        members = procedure.read(session)
        waiting = procedure.settling(members)
        if not waiting or time.monotonic() > deadline:
            return members
        session.say("now", waiting)
        time.sleep(INTERVAL)
