# SPDX-License-Identifier: Apache-2.0
"""One plan from the differences of all hosts and of what they share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.jobs import cluster_jobs
from scs_deploy.plan.ordering import Order
from scs_deploy.spec.service import Impact, Phase

DISRUPTIVE = frozenset({Kind.REPLACE, Kind.RESTART, Kind.RELOAD, Kind.REMOVE, Kind.STOP})
"""Kinds that interrupt a container that works."""


class Plan(Model):
    """All changes of a run, in order."""

    changes: tuple[Change, ...]
    held: tuple[Change, ...] = Field(default=(), description="changes that wait for --allow")
    drained: tuple[str, ...] = Field(default=(), description="hosts that `scs node drain` took out of use")
    in_use: dict[str, tuple[str, ...]] = Field(
        default={}, description="service: hosts that a rolling change comes to last"
    )

    @property
    def empty(self) -> bool:
        """Nothing to do, and nothing held back."""
        return not self.changes and not self.held


def assemble(
    hosts: Sequence[HostPlan],
    region: Iterable[Change],
    waves: dict[str, int],
    services: frozenset[str],
    only_hosts: frozenset[str] | None = None,
    allow: frozenset[Impact] = frozenset(),
    order: Order = Order(),
) -> Plan:
    """One plan from all hosts' and the region's changes.

    :param waves: service: wave, in deployment order
    :param services: changes of other services are left out
    :param only_hosts: changes of other hosts are left out; None: no limit
    :param allow: impacts that need no further consent
    :param order: what of a service comes before what
    :raises RefusedError: a host cannot take its changes
    """
    refusals = [r for h in hosts if only_hosts is None or h.host in only_hosts for r in h.refusals]
    if refusals:
        raise RefusedError("; ".join(refusals))
    changes = [c for h in hosts for c in h.changes]
    region_changes = list(region)
    renewed = {
        c.service
        for c in region_changes
        if c.kind is Kind.DATABASE and "schema" in c.subject.split() and c.reason in ("missing", "not there yet")
    }
    changes += region_changes + cluster_jobs(hosts, renewed, order)
    elsewhere: list[Change] = []
    if only_hosts is not None:
        elsewhere = [c for c in changes if c.host not in only_hosts]
        changes = [c for c in changes if c.host in only_hosts]
    # leftovers of services that the catalog no longer has go with a full run only
    changes = [c for c in changes if c.service in services or (c.service not in waves and services == frozenset(waves))]
    held_services = order.waiting(
        changes,
        frozenset(
            (c.host, c.service)
            for c in changes
            if c.impact is Impact.DATA_PLANE and c.kind in DISRUPTIVE and Impact.DATA_PLANE not in allow
        ),
    )
    left_out = order.unready([*changes, *elsewhere], elsewhere)
    left_out |= {c.subject for c in elsewhere if c.kind is Kind.RECORD}
    changes = [c for c in changes if c.subject not in left_out and not _unrecorded(c, left_out, order)]
    place = {s: i for i, s in enumerate(waves)}
    phases = {p: i for i, p in enumerate(Phase)}

    def key(change: Change) -> tuple[int, int, int, int]:
        return (
            order.wave(change, waves), phases[change.phase], order.stage(change), place.get(change.service, -1)
        )  # fmt: skip

    ordered = sorted(changes, key=key)
    unready = order.unready(ordered, (c for c in ordered if (c.host, c.service) in held_services))
    waiting = [
        c for c in ordered
        if (c.host, c.service) in held_services or c.subject in unready or _unrecorded(c, unready, order)
    ]  # fmt: skip
    return Plan(
        changes=tuple(c for c in ordered if c not in waiting),
        held=tuple(waiting),
        drained=tuple(h.host for h in hosts if h.drained),
    )


def _unrecorded(change: Change, jobs: frozenset[str], order: Order) -> bool:
    """A restart that one of these jobs is about: it waits with it."""
    about = {(p.host, p.container) for j in jobs for p in order.restarts.get(j, ())}
    return change.phase is Phase.FINISH and change.kind is Kind.RESTART and (change.host, change.subject) in about
