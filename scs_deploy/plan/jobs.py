# SPDX-License-Identifier: Apache-2.0
"""Decides which jobs of clusters run, on which host, and which are only recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.ordering import Ordering
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase


class ClusterJob(Model):
    """A cluster's job, as recorded on one of its hosts."""

    name: str = Field(description="<service>.<job>")
    service: str
    phase: Phase
    hash: str = Field(description="of what is wanted")
    last: str = Field(description="hash of its last success that this host records; empty: none")
    once: bool = Field(default=False, description="a cluster that records it never runs it again")
    superseded: bool = Field(default=False, description="a later image's job changed the schema since this one's did")


def job_reason(last: str) -> str:
    """Why a job runs, from the hash of its last success."""
    return "its image or command changed" if last else "has not run yet"


def job_changes(
    hosts: Mapping[str, Sequence[ClusterJob]], renewed: AbstractSet[str], ordering: Ordering
) -> list[Change]:
    """A cluster's job runs once, on its first host, unless a host has recorded this job with the same hash.

    All hosts of the job record its success, so that the record survives if the first host loses its disk.

    :param hosts: host: the jobs that it has
    :param renewed: services whose database is new
    """
    jobs: dict[str, list[tuple[str, ClusterJob]]] = {}
    for host in sorted(hosts):
        for job in hosts[host]:
            jobs.setdefault(job.name, []).append((host, job))
    return [c for holders in jobs.values() for c in _changes(holders, renewed, ordering)]


def _changes(holders: list[tuple[str, ClusterJob]], renewed: AbstractSet[str], ordering: Ordering) -> list[Change]:
    """The changes of one job, which all these hosts have."""
    (host, job), *others = holders
    recorded = {j.last for _, j in holders}
    known = any(recorded)
    if known and any(j.once for _, j in holders):
        return []
    again = job.service in renewed and job.phase in (Phase.MIGRATE, Phase.FINISH)
    if job.hash in recorded and not again:
        return []
    change = Change(
        kind=Kind.JOB, service=job.service, host=host, subject=job.name,
        reason="its database is new" if again else job_reason("".join(recorded)),
        phase=job.phase, impact=Impact.CONTROL, witnesses=tuple(h for h, _ in others),
    )  # fmt: skip
    if not again and any(j.superseded for _, j in holders):
        # earlier programs work with it, as they do in every roll, but do not know its revision
        reason = "a later image has already upgraded the schema"
        return [change.model_copy(update={"kind": Kind.RECORD, "reason": reason})]
    return ordering.restarting(change, known and not again) if job.name in ordering.restarts else [change]
