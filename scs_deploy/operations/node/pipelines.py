# SPDX-License-Identifier: Apache-2.0
"""Steps that are plans of the normal pipeline, limited to a host."""

from __future__ import annotations

from collections.abc import Sequence

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.desired import resolve
from scs_deploy.engine import execute
from scs_deploy.engine.events import Expected
from scs_deploy.engine.observe import make_plan
from scs_deploy.operations.bootstrap import Bootstrap, BootstrapRequest
from scs_deploy.operations.node.work import Work
from scs_deploy.plan.change import REGION, Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region.selection import Selection
from scs_deploy.spec.job import Phase


def bootstrap(work: Work, hosts: Sequence[str]) -> None:
    """Prepare hosts; empty: all.

    :raises ScsError: a task failed
    """
    summary = Bootstrap(work.region, BootstrapRequest(hosts=tuple(hosts))).execute(work.session)
    for host, tasks in summary.changed.items():
        work.say(f"{host}: {len(tasks)} tasks changed something")
    for host in summary.held:
        work.say(f"{host}: its network is not as its links say: scs host network plan {host}")


def mine(plan: Plan, host: str) -> Plan:
    """Of a region's plan what a host's return needs: its own changes, the region's, and jobs of its clusters.

    What a new release has the whole region start anew for is no part of it.
    """
    changes = tuple(
        c for c in plan.changes
        if (c.host in (host, REGION) or c.kind is Kind.JOB)
        and c.kind is not Kind.RECORD and not (c.kind is Kind.RESTART and c.phase is Phase.FINISH)
    )  # fmt: skip
    return Plan(changes=changes, absent=plan.absent)


def apply(work: Work, everything: bool) -> None:
    """Apply the host's part of the plan first, then the rest.

    :param everything: the other hosts' changes, too: they must know a new host
    :raises ScsError: a change failed, or something of the host is left afterwards
    """
    _execute(work, make_plan(work.region, Selection(hosts=(work.host,))))
    for _ in range(2):
        # a server that this brought back could not be compared before
        found = make_plan(work.region, Selection())
        left = found if everything else mine(found, work.host)
        if not left.changes:
            return
        _execute(work, left)
    left = mine(make_plan(work.region, Selection()), work.host)
    if left.changes:
        first = left.changes[0]
        raise ScsError(
            f"{counted(len(left.changes), 'change')} still pending, first: {first.kind} {first.subject}: {first.reason}"
        )


def remove(work: Work) -> None:
    """Stop and remove all containers of the host, in the reverse order of starting.

    :raises ScsError: one does not stop
    """
    containers = resolve.resolve(work.region, work.host).containers.values()
    changes = [
        Change(
            kind=Kind.REMOVE, service=c.service, host=work.host, subject=c.name, reason="its host is removed",
            phase=Phase.ROLL, impact=c.impact,
        )
        for c in containers
    ]  # fmt: skip
    _execute(work, Plan(changes=tuple(changes[::-1])))


def purge(work: Work) -> None:
    """Remove the host's volumes and its configuration with keys and passwords.

    :raises ScsError: a volume is in use
    """
    containers = resolve.resolve(work.region, work.host).containers.values()
    volumes = sorted({v for c in containers for v in c.volumes})
    script = (
        'for v in "$@"; do if docker volume inspect "$v" > /dev/null 2>&1; then docker volume rm "$v" || exit 1; fi; '
        "done; rm -rf /etc/scs"
    )
    argv = ["sh", "-c", script, "purge", *volumes]
    work.play((work.host,), [{"name": "Purge", "ansible.builtin.command": {"argv": argv}}])


def _execute(work: Work, plan: Plan) -> None:
    if plan.changes:
        work.session.emit(Expected(len(plan.changes)))
        execute.execute(work.region, plan, work.record, work.session.emit, work.session.check)
