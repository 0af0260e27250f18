# SPDX-License-Identifier: Apache-2.0
"""Stops, starts and restarts containers on demand, with a plan that is made from names instead of differences."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.desired import resolve
from scs_deploy.engine import execute, reachable
from scs_deploy.engine.events import Watch, ignore
from scs_deploy.operations.apply import Applied
from scs_deploy.operations.base import Operation, Session
from scs_deploy.operations.storage import look
from scs_deploy.plan import needs_room
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.reach import refuse_unreachable, split
from scs_deploy.plan.region import Plan, unavailable
from scs_deploy.plan.rolling import Rolling
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase


class RestartRequest(Model):
    """Which containers to stop, start or restart."""

    kind: Literal[Kind.STOP, Kind.START, Kind.RESTART]
    services: tuple[str, ...] = ()
    """services, layers or containers; empty: all"""
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()


class Restart(Operation[RestartRequest, Plan, Applied]):
    """Stops, starts or restarts containers, one host after the other."""

    name = "restart"
    requests = RestartRequest
    repeat = "repeat the command: it restarts all the containers again"

    def plan(self, watch: Watch = ignore) -> Plan:  # noqa: ARG002 - quick
        """One change per container and host that can be reached. It is made once.

        :raises RefusedError: a name or host is unknown, nothing is selected, the data plane may not change, or a host
            is unreachable that must respond, or a container would not come back because Ceph is full
        """
        return self._reachable

    @cached_property
    def _reachable(self) -> Plan:
        plan = self._planned
        wanted = {c.host for c in plan.changes}
        lost = reachable.unreachable(self.region, {*wanted, *Rolling.of(self.region).balancers})
        held, absent = split(self.region, lost, wanted, self.request.hosts)
        changes = tuple(c for c in plan.changes if c.host not in held)
        if not changes:
            refuse_unreachable(held)
        if any(needs_room.interrupted(changes, self.region.catalog)):
            needs_room.refuse(changes, self.region.catalog, look.full(self.region))
        return plan.model_copy(update={"changes": changes, "unreachable": held, "absent": absent})

    @cached_property
    def _planned(self) -> Plan:
        kind, request = self.request.kind, self.request
        selection = Selection(request.services, request.hosts, request.allow)
        changes = tuple(_changes(self.region, kind, selection))
        plan = Plan(changes=changes, unavailable=unavailable(changes, self.region.members))
        if not plan.changes:
            raise RefusedError("none of these services run on the selected hosts", "scs status")
        allowed = {*self.region.environment.settings.allow, *request.allow}
        if kind is not Kind.START and Impact.DATA_PLANE not in allowed:
            touched = [c.subject for c in plan.changes if c.impact is Impact.DATA_PLANE]
            if touched:
                verb = "carry" if len(set(touched)) > 1 else "carries"
                raise RefusedError(
                    f"{', '.join(dict.fromkeys(touched))} {verb} guest traffic", "add --allow data-plane"
                )
        return plan

    def total(self, plan: Plan) -> int:
        """See Operation."""
        return len(plan.changes)

    def empty_result(self, plan: Plan) -> Applied:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return Applied("", 0, 0)

    def carry_out(self, session: Session, plan: Plan) -> Applied:
        """See Operation.

        :raises ScsError: a container could not be stopped, started or restarted
        """
        execute.execute(self.region, plan, session.record, session.emit, session.check)
        return Applied(session.record.id, len(plan.changes), 0, tuple(plan.unreachable))


def _changes(region: Region, kind: Kind, selection: Selection) -> list[Change]:
    """One change per container and host. Containers stop in the reverse order of their start."""

    catalog = region.catalog
    services = catalog.select(selection.services)
    named = {n for n in selection.services if n in catalog.owner and n not in catalog.services}
    whole = {n for n in selection.services if n not in named}
    whole_services = catalog.select(tuple(whole)) if whole else frozenset()
    chosen = region.select_hosts(selection.hosts)
    result: list[Change] = []
    for host in region.inventory.hosts:
        if host not in chosen:
            continue
        result += [
            Change(
                kind=kind,
                service=run.service,
                host=host,
                subject=run.name,
                reason="requested",
                phase=Phase.ROLL,
                impact=run.impact,
            )
            for run in resolve.resolve(region, host).containers.values()
            if run.service in services and (run.name in named or run.service in whole_services)
        ]
    return result[::-1] if kind is Kind.STOP else result
