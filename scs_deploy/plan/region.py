# SPDX-License-Identifier: Apache-2.0
"""Assembles the plan from the differences of all hosts and of shared state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.plan.change import Change, Kind, Shared
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.jobs import job_changes
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.reach import Reach
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

DISRUPTIVE = frozenset({Kind.REPLACE, Kind.RESTART, Kind.RELOAD, Kind.REMOVE, Kind.STOP})
"""Kinds that interrupt a running container."""

NOTICED = frozenset({Impact.API, Impact.CONTROL})
"""Impacts on a service that its users notice if no other member provides it."""


class Plan(Model):
    """All changes of a run, in order."""

    changes: tuple[Change, ...]
    held: tuple[Change, ...] = Field(default=(), description="changes that wait for --allow")
    unreachable: dict[str, str] = Field(
        default={}, description="host that does not respond, and whose changes wait: what ssh said"
    )
    waiting: tuple[Change, ...] = Field(default=(), description="changes that wait for an unreachable host")
    absent: dict[str, str] = Field(
        default={}, description="host that does not respond, and is not selected: what ssh said"
    )
    drained: tuple[str, ...] = Field(default=(), description="hosts that `scs node drain` took out of use")
    evacuated: tuple[str, ...] = Field(default=(), description="hosts that `scs node evacuate` took out of use")
    in_use: dict[str, tuple[str, ...]] = Field(
        default={}, description="service: hosts that a rolling change comes to last"
    )
    unavailable: tuple[str, ...] = Field(
        default=(), description="containers that users miss meanwhile, because no other member takes over"
    )

    @property
    def empty(self) -> bool:
        """Nothing to do, nothing held back, and every host is known to need nothing."""
        return not self.changes and not self.held and not self.unreachable

    @property
    def out_of_use(self) -> tuple[str, ...]:
        """Hosts that stay out of the load balancers until an operator returns them to service."""
        return (*self.drained, *self.evacuated)


def assemble(
    hosts: Sequence[HostPlan],
    shared: Iterable[Change],
    waves: dict[str, int],
    services: frozenset[str],
    only_hosts: frozenset[str] | None = None,
    allow: frozenset[Impact] = frozenset(),
    ordering: Ordering = Ordering(),
    reach: Reach | None = None,
) -> Plan:
    """One plan from all hosts' changes and those of what hosts share.

    :param waves: service: wave, in deployment order
    :param services: changes of other services are left out
    :param only_hosts: changes of other hosts are left out; None: no limit
    :param allow: impacts that need no further consent
    :param ordering: what of a service comes before what
    :param reach: who was observed; None: every host
    :raises RefusedError: a host cannot take its changes
    """
    reach = reach or Reach((), frozenset())
    refusals = [r for h in hosts if only_hosts is None or h.host in only_hosts for r in h.refusals]
    if refusals:
        raise RefusedError("; ".join(refusals))
    changes = [c for h in hosts for c in h.changes] + list(shared)
    changes += job_changes({h.host: h.cluster_jobs for h in hosts}, _renewed(changes), ordering)
    elsewhere = [] if only_hosts is None else [c for c in changes if c.host not in only_hosts]
    here = changes if only_hosts is None else [c for c in changes if c.host in only_hosts]
    # only a full run removes leftovers of services that are no longer in the catalog
    here = [c for c in here if c.service in services or (c.service not in waves and services == frozenset(waves))]
    if only_hosts is not None or services != frozenset(waves):
        here = [c for c in here if not ordering.removes_last(c)]
    held = ordering.waiting(here, frozenset((c.host, c.service) for c in here if _needs_consent(c, allow)))
    unseen = reach.unseen if reach.selected else frozenset()
    left_out = ordering.unready([*here, *elsewhere], elsewhere, unseen)
    left_out |= {c.subject for c in elsewhere if c.kind is Kind.RECORD}
    every = _sorted([c for c in here if not _waits_for(c, left_out, ordering)], waves, ordering)
    late = _late(every, reach, ordering)
    ordered = [c for c in every if c not in late]
    unready = ordering.unready(ordered, (c for c in ordered if (c.host, c.service) in held))
    waiting = [c for c in ordered if (c.host, c.service) in held or _waits_for(c, unready, ordering)]
    return Plan(
        changes=tuple(c for c in ordered if c not in waiting),
        held=tuple(waiting),
        unreachable=reach.held,
        waiting=tuple(late),
        absent=reach.absent,
        drained=tuple(h.host for h in hosts if h.drained),
    )


def _late(changes: Sequence[Change], reach: Reach, ordering: Ordering) -> list[Change]:
    """Changes that wait for a host which did not answer: jobs that come after all containers of their service."""
    if not reach.held:
        return []
    jobs = ordering.unready(changes, (), reach.unseen)
    return [c for c in changes if c.host in reach.held or _waits_for(c, jobs, ordering)]


def unavailable(changes: Iterable[Change], members: Callable[[str, str], int]) -> tuple[str, ...]:
    """Containers that users miss while they change, because no other member takes over.

    Members of a cluster change one after the other, except that all of them can be stopped.

    :param members: number of hosts that run a container, by service and container
    """
    gone: dict[tuple[str, str], set[str]] = {}
    for c in changes:
        if c.kind in DISRUPTIVE - {Kind.RELOAD} and c.impact in NOTICED:
            gone.setdefault((c.service, c.subject), set()).add(c.host if c.kind is Kind.STOP else "")
    return tuple(name for (service, name), on in gone.items() if 0 < members(service, name) <= len(on))


def _renewed(changes: Iterable[Change]) -> frozenset[str]:
    """Services that get a new schema: jobs that fill one run again."""
    return frozenset(c.service for c in changes if c.creates and c.shared and c.shared.kind is Shared.SCHEMA)


def _needs_consent(change: Change, allow: frozenset[Impact]) -> bool:
    disrupts = change.impact is Impact.DATA_PLANE and change.kind in DISRUPTIVE
    return disrupts and Impact.DATA_PLANE not in allow


def _waits_for(change: Change, jobs: frozenset[str], ordering: Ordering) -> bool:
    """One of these jobs, or a restart that one of them is about: that waits with it."""
    about = {(p.host, p.container) for j in jobs for p in ordering.restarts.get(j, ())}
    restart = change.phase is Phase.FINISH and change.kind is Kind.RESTART
    return change.subject in jobs or (restart and (change.host, change.subject) in about)


def _sorted(changes: Iterable[Change], waves: dict[str, int], ordering: Ordering) -> list[Change]:
    """By wave, phase, stage of the phase, and service."""
    changes = list(changes)
    ordering = ordering.given(changes)
    place = {s: i for i, s in enumerate(waves)}
    phases = {p: i for i, p in enumerate(Phase)}
    return sorted(
        changes,
        key=lambda c: (
            ordering.wave(c, waves), phases[c.phase], ordering.stage(c), place.get(c.service, -1)
        ),
    )  # fmt: skip
