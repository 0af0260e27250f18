# SPDX-License-Identifier: Apache-2.0
"""Jobs of clusters: which run, where, and which are recorded only. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan, job_reason
from scs_deploy.plan.ordering import Order
from scs_deploy.spec.service import Impact, Phase


def cluster_jobs(hosts: Sequence[HostPlan], renewed: set[str], order: Order) -> list[Change]:
    """A cluster's job runs once, on the first host that has it, unless some host records this very job.

    All hosts that have it record its success: a cluster whose first host lost its disk is still known as one.
    """
    able: dict[str, list[str]] = {}
    once = frozenset[str]().union(*(h.once for h in hosts))
    superseded = frozenset[str]().union(*(h.superseded for h in hosts))
    wanted: dict[str, str] = {}
    records: dict[str, set[str]] = {}
    phase: dict[str, Phase] = {}
    for plan in sorted(hosts, key=lambda h: h.host):
        for job, (want, last) in plan.cluster_jobs.items():
            able.setdefault(job, []).append(plan.host)
            wanted.setdefault(job, want)
            records.setdefault(job, set()).add(last)
            phase.setdefault(job, plan.phases[job])
    result = []
    for job, (host, *others) in able.items():
        if job in once and any(records[job]):
            continue
        service = job.partition(".")[0]
        again = service in renewed and phase[job] in (Phase.MIGRATE, Phase.FINISH)
        if wanted[job] not in records[job] or again:
            reason = "its database is new" if again else job_reason("".join(records[job]))
            change = Change(
                kind=Kind.JOB, service=service, host=host, subject=job, reason=reason, phase=phase[job],
                impact=Impact.CONTROL, witnesses=tuple(others),
            )  # fmt: skip
            known = any(records[job]) and not again
            if job in superseded and not again:
                # earlier programs work with it, as they do in every roll, but do not know its revision
                said = "the schema is a later image's already"
                result.append(change.model_copy(update={"kind": Kind.RECORD, "reason": said}))
                continue
            result += order.anew(change, known) if job in order.restarts else [change]
    return result
