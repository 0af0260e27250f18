# SPDX-License-Identifier: Apache-2.0
"""The order of changes: which containers get a new image first, and which jobs wait for all of them. Pure.

`after` orders containers within a service, `requires` orders services. The order applies to new images and to new
containers: a changed file restarts containers of the same version in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.plan.change import Change, Kind
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase, Schema

BEGIN = -2
"""Wave before all services: while one server is still drained, no other may be drained."""

PULLS = -1
"""Wave in which the images of all services are pulled."""

END = 10**6
"""Wave after all services."""

FIRST = -1
"""Stage of new containers that others need."""

JOBS = 10**6
"""Stage of jobs: after every container of their phase."""


class Place(Model):
    """A container on a host."""

    host: str
    container: str
    impact: Impact


class Ordering(Model):
    """The order of changes to a region's services."""

    stages: dict[str, int] = Field(default={}, description="container: number of stages of its service before its own")
    after: dict[str, frozenset[str]] = Field(
        default={}, description="container: all containers that come before it, directly or indirectly"
    )
    everywhere: frozenset[str] = Field(default=frozenset(), description="jobs that wait for every container")
    last: frozenset[str] = Field(default=frozenset(), description="jobs after which images cannot be rolled back")
    retired: frozenset[str] = Field(
        default=frozenset(), description="containers of earlier versions that are removed after all services"
    )
    restarts: dict[str, tuple[Place, ...]] = Field(
        default={}, description="job: containers that it restarts, once per release"
    )
    requires: dict[str, frozenset[str]] = Field(default={}, description="service: the services that it names itself")
    early: frozenset[str] = Field(
        default=frozenset(),
        description="containers that are created before others restart or reload, which need them; see given",
    )

    @classmethod
    def of(cls, region: Region) -> Ordering:
        """The ordering of a region, from its catalog and inventory."""
        services = region.catalog.services.values()
        jobs = [(f"{s.name}.{n}", s, j) for s in services for n, j in s.jobs.items()]

        def places(service: str, containers: Sequence[str]) -> tuple[Place, ...]:
            spec = region.catalog.services[service]
            return tuple(
                Place(host=h.name, container=c, impact=spec.impact_of(c))
                for c in containers
                for h in region.hosts_of(service, c)
            )

        return cls(
            stages={c: n for s in services for c, n in s.stages().items()},
            after={c: before(s.containers, c) for s in services for c in s.containers},
            everywhere=frozenset(n for n, _, j in jobs if j.everywhere),
            last=frozenset(n for n, _, j in jobs if j.schema_change is Schema.CONTRACT and j.phase is Phase.FINISH),
            retired=frozenset(c for s in services for c in s.retired),
            restarts={n: places(s.name, j.restart) for n, s, j in jobs if j.restart},
            requires={s.name: frozenset(s.requires) for s in services},
        )

    def given(self, changes: Iterable[Change]) -> Ordering:
        """The ordering of these changes: what a restart or reload comes after is created on every host before."""
        taking = (Kind.RESTART, Kind.RELOAD)
        restarted = [c.subject for c in changes if c.kind in taking and c.phase is Phase.ROLL]
        return self.model_copy(update={"early": frozenset(b for s in restarted for b in self.after.get(s, ()))})

    def wave(self, change: Change, waves: Mapping[str, int]) -> int:
        """The wave of a change. Schemas are contracted at the very end: until then, the region can be rolled back."""
        if change.kind is Kind.UNDRAIN:
            return BEGIN
        if change.phase is Phase.PULL:
            return PULLS
        return END if change.subject in self.last or self.removes_last(change) else waves.get(change.service, -1)

    def removes_last(self, change: Change) -> bool:
        """Whether a change removes a container that other services use until they are rolled."""
        return change.kind is Kind.REMOVE and change.subject in self.retired

    def stage(self, change: Change) -> int:
        """The stage of a change within its phase."""
        if change.phase is Phase.ROLL:
            if change.kind is Kind.CREATE and change.subject in self.early:
                return FIRST
            return self.stages.get(change.subject, 0) if change.kind is Kind.REPLACE else 0
        if change.phase is Phase.FINISH:
            return 0 if change.kind is Kind.RESTART else JOBS
        return 0

    def waiting(self, changes: Iterable[Change], held: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Services that must be held back with `held`, because something they depend on is held back.

        That is a container that gets its new image first, on any host, or a job that migrates their data, or a
        container of a service that they require and that does not exist yet.

        :param held: (host, service)
        :returns: (host, service), including `held`
        """
        all_changes = list(changes)
        replaced = [c for c in all_changes if c.kind is Kind.REPLACE]
        migrations = [c for c in all_changes if c.kind is Kind.JOB and c.phase is Phase.MIGRATE]
        while True:
            late = {c.subject for c in replaced if (c.host, c.service) in held}
            unmigrated = {c.service for c in migrations if (c.host, c.service) in held}
            found = held | {
                (c.host, c.service)
                for c in replaced
                if c.service in unmigrated or self.after.get(c.subject, frozenset()) & late
            }
            missing = {c.service for c in all_changes if c.kind is Kind.CREATE and (c.host, c.service) in held}
            found |= {(c.host, c.service) for c in all_changes if self.requires.get(c.service, frozenset()) & missing}
            if found == held:
                return held
            held = found

    def unready(
        self, changes: Iterable[Change], later: Iterable[Change], unseen: frozenset[str] = frozenset()
    ) -> frozenset[str]:
        """Due jobs that must wait for a change that is not made now.

        :param changes: changes to make now
        :param later: changes that are held back or not selected
        :param unseen: services that may run an earlier image on a host that was not observed
        """
        remaining = list(later)
        old = unseen | {c.service for c in remaining if c.kind is Kind.REPLACE}
        unfinished = {c.service for c in remaining if c.kind is Kind.RESTART and c.phase is Phase.FINISH}
        return frozenset(
            c.subject
            for c in changes
            if c.subject in self.everywhere and c.kind in (Kind.JOB, Kind.RECORD)
            and (c.service in old or (c.kind is Kind.RECORD and c.service in unfinished))
        )  # fmt: skip

    def restarting(self, record: Change, known: bool) -> list[Change]:
        """A due job that restarts containers, as changes.

        :param known: recorded for an earlier release; otherwise no container can have cached anything from one
        """
        places = self.restarts.get(record.subject, ()) if known else ()
        why = "cached the versions of other hosts when it started"
        restarts = [
            Change(
                kind=Kind.RESTART, service=record.service, host=p.host, subject=p.container, reason=why,
                phase=Phase.FINISH, impact=p.impact,
            )
            for p in places
        ]  # fmt: skip
        reason = "its release changed" if known else "first recorded release"
        return [*restarts, record.model_copy(update={"kind": Kind.RECORD, "reason": reason})]


def before(containers: Mapping[str, object], name: str) -> frozenset[str]:
    """All containers that come before a container, directly or indirectly."""
    found: set[str] = set()
    left = [name]
    while left:
        new = set(getattr(containers[left.pop()], "after", ())) - found
        found |= new
        left += new
    return frozenset(found)
