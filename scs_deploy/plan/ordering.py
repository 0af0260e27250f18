# SPDX-License-Identifier: Apache-2.0
"""What of a service changes before what: which containers get a new image first, which jobs wait for all of them. Pure.

Within a service `after` of its containers says it, between services `requires`. It counts where images change: a file
restarts containers of one version in any order.
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
"""Wave of what comes before all services: while one server is still left out, no other one may leave."""

PULLS = -1
"""Wave of images, of all services together."""

END = 10**6
"""Wave of what comes after all services."""

JOBS = 10**6
"""Stage of jobs: after every container of their phase."""


class Place(Model):
    """A container on a host."""

    host: str
    container: str
    impact: Impact


class Ordering(Model):
    """What of a region's services comes before what."""

    stages: dict[str, int] = Field(default={}, description="container: steps of its service that come before its own")
    after: dict[str, frozenset[str]] = Field(default={}, description="container: those that come before, all of them")
    everywhere: frozenset[str] = Field(default=frozenset(), description="jobs that wait for every container")
    last: frozenset[str] = Field(default=frozenset(), description="jobs after which images cannot go back")
    restarts: dict[str, tuple[Place, ...]] = Field(default={}, description="job: what restarts, once per release")

    @classmethod
    def of(cls, region: Region) -> Ordering:
        """A region's, from its catalog and inventory."""
        services = region.catalog.services.values()
        jobs = [(f"{s.name}.{n}", s, j) for s in services for n, j in s.jobs.items()]

        def places(service: str, containers: Sequence[str]) -> tuple[Place, ...]:
            spec = region.catalog.services[service]
            return tuple(
                Place(host=h.name, container=c, impact=spec.impact_of(c))
                for c in containers
                for h in region.inventory.group(region.group_of(service, c))
            )

        return cls(
            stages={c: n for s in services for c, n in s.stages().items()},
            after={c: before(s.containers, c) for s in services for c in s.containers},
            everywhere=frozenset(n for n, _, j in jobs if j.everywhere),
            last=frozenset(n for n, _, j in jobs if j.schema_change is Schema.CONTRACT and j.phase is Phase.FINISH),
            restarts={n: places(s.name, j.restart) for n, s, j in jobs if j.restart},
        )

    def wave(self, change: Change, waves: Mapping[str, int]) -> int:
        """When a change's turn is. A schema is contracted at the very end: until then the region can go back."""
        if change.kind is Kind.UNDRAIN:
            return BEGIN
        if change.phase is Phase.PULL:
            return PULLS
        return END if change.subject in self.last else waves.get(change.service, -1)

    def stage(self, change: Change) -> int:
        """Which step of its phase a change belongs to."""
        if change.phase is Phase.ROLL:
            return self.stages.get(change.subject, 0) if change.kind is Kind.REPLACE else 0
        if change.phase is Phase.FINISH:
            return 0 if change.kind is Kind.RESTART else JOBS
        return 0

    def waiting(self, changes: Iterable[Change], held: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """What is held back with `held`: services that would get a new image before what comes before them.

        That is a container of theirs, on any host, or a job that migrates their data.

        :param held: (host, service)
        :returns: (host, service), `held` among them
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
            if found == held:
                return held
            held = found

    def unready(self, changes: Iterable[Change], later: Iterable[Change]) -> frozenset[str]:
        """Due jobs that must wait for a change that is not made now.

        :param changes: to be made now
        :param later: held back or left out
        """
        remaining = list(later)
        old = {c.service for c in remaining if c.kind is Kind.REPLACE}
        unfinished = {c.service for c in remaining if c.kind is Kind.RESTART and c.phase is Phase.FINISH}
        return frozenset(
            c.subject
            for c in changes
            if c.subject in self.everywhere and c.kind in (Kind.JOB, Kind.RECORD)
            and (c.service in old or (c.kind is Kind.RECORD and c.service in unfinished))
        )  # fmt: skip

    def restarting(self, record: Change, known: bool) -> list[Change]:
        """A due job that restarts containers, as changes.

        :param known: it was recorded for an earlier release; else nothing is there that could remember one
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
        reason = "its release changed" if known else "first release that is recorded"
        return [*restarts, record.model_copy(update={"kind": Kind.RECORD, "reason": reason})]


def before(containers: Mapping[str, object], name: str) -> frozenset[str]:
    """All that a container comes after, also by way of others."""
    found: set[str] = set()
    left = [name]
    while left:
        new = set(getattr(containers[left.pop()], "after", ())) - found
        found |= new
        left += new
    return frozenset(found)
