# SPDX-License-Identifier: Apache-2.0
"""`scs storage osd`: adds, replaces and removes a disk. Waits by progress, and refuses what would lose data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.clusters.ceph import data, progress
from scs_deploy.clusters.ceph.driver import Driver
from scs_deploy.clusters.ceph.progress import Left
from scs_deploy.engine.access import Access, saying
from scs_deploy.engine.events import Stage, Watch, ignore
from scs_deploy.engine.remote import Command
from scs_deploy.operations.apply import Apply, ApplyRequest
from scs_deploy.operations.base import Operation, Session, Step
from scs_deploy.operations.storage import look
from scs_deploy.operations.storage.osd_plan import Facts, OsdPlan, Verb, decide
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region.region import Region
from scs_deploy.shared.ceph import disks, observed, status
from scs_deploy.shared.ceph.disks import Disk
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.status import Status
from scs_deploy.spec.container import Impact
from scs_deploy.spec.storage import CEPH


class OsdRequest(Model):
    """What to do with which disk."""

    verb: Verb
    host: str
    disk: str
    erase: bool = False


@dataclass(frozen=True)
class OsdDone:
    """How it ended."""

    plan: OsdPlan
    run: str = ""
    """id of the run; empty: nothing was done"""


class ChangeOsd(Operation[OsdRequest, OsdPlan, OsdDone]):
    """Adds, replaces or removes the OSD of a disk."""

    name = "storage osd"
    requests = OsdRequest
    repeat = "repeat the command: it goes on where it stopped"

    def plan(self, watch: Watch = ignore) -> OsdPlan:
        """See Operation.

        :raises RefusedError: no such host or disk, or the region has no Ceph
        """
        watch(Stage("asking hosts and monitors"))
        request, region = self.request, self.region
        look.session(region)
        region.select_hosts([request.host])
        names = [d.name for d in region.inventory.hosts[request.host].disks_of(("osd",))]
        if request.disk not in names:
            there = ", ".join(names) or "none"
            raise RefusedError(f"host {request.host} has no disk '{request.disk}' for an OSD", f"there are: {there}")
        known = facts(region, request.host, request.disk)
        return decide(request.verb, request.host, request.disk, request.erase, known)

    def check(self, plan: OsdPlan) -> None:
        """See Operation.

        :raises RefusedError: data would be lost, or there is no room
        """
        if plan.refusals:
            raise RefusedError("; ".join(plan.refusals), "scs storage status")

    def total(self, plan: OsdPlan) -> int:
        """See Operation. A refused plan is not an empty one."""
        return len(plan.steps) or len(plan.refusals)

    def empty_result(self, plan: OsdPlan) -> OsdDone:
        """See Operation."""
        return OsdDone(plan)

    def carry_out(self, session: Session, plan: OsdPlan) -> OsdDone:
        """See Operation.

        :raises ScsError: a step failed, or makes no progress
        """
        work = _Work(self.region, session, plan)
        session.carry_out(
            "storage", [Step(s.key, s.title, getattr(work, s.key), hosts=(plan.host,)) for s in plan.steps]
        )
        return OsdDone(plan, session.record.id)


def facts(region: Region, host: str, disk: str) -> Facts:
    """What a plan needs to know.

    :raises ScsError: no monitor answers
    """
    table = look.disks_of(region)
    row: Disk = next(d for d in table if (d.host, d.disk) == (host, disk))
    monitors = look.session(region)
    health = Status.parse(monitors.ask(status.QUESTIONS))
    pools = Observed.parse(monitors.ask(observed.QUESTIONS))
    stops = True
    if row.works:
        stops = _safe(monitors.ask([{"prefix": "osd ok-to-stop", "ids": [str(row.osd)], "tolerated": True}])[0])
    return Facts(disk=row, table=table, health=health, pools=pools, stops=stops)


def _safe(answer: Any) -> bool:
    return bool(answer and answer.get("ok_to_stop"))


class _Work:
    """Carries out the steps. Each skips what is done."""

    def __init__(self, region: Region, session: Session, plan: OsdPlan) -> None:
        self.region, self.session, self.plan = region, session, plan
        self.access = Access(region, saying(session.emit))
        self.monitors = look.session(region)
        self.driver = Driver(region, region.catalog.services[CEPH])

    def empty(self) -> str:
        """Move all data off the disk."""
        data.empty(self.access, self.driver.asker(self.access), self._osds())
        return "all of its data is elsewhere"

    def stop(self) -> str:
        """Stop the daemon, and wait until the cluster knows that."""
        self.access.containers("stop", self.plan.container, [self.plan.host])
        self._wait(self._still_up)
        return ""

    def drop(self) -> str:
        """Remove the OSD from the cluster, and what its container kept of it."""
        if self._there():
            data.purge(self.access, self.driver.asker(self.access), self._osds())
        self.access.containers("remove", self.plan.container, [self.plan.host])
        volume = self.plan.container
        script = 'if docker volume inspect "$1" > /dev/null 2>&1; then docker volume rm "$1"; fi'
        argv = ["sh", "-c", script, "sh", volume]
        task = {"name": f"Remove the volume {volume}", "ansible.builtin.command": {"argv": argv}}
        self.access.task(task, [self.plan.host])
        return f"osd.{self.plan.osd} is gone"

    def erase(self) -> str:
        """Erase the disk's labels, so that it is blank."""
        argv = ("ceph-bluestore-tool", "zap-device", "--dev", self.plan.path, "--yes-i-really-really-mean-it")
        command = Command(container=self.plan.container, argv=argv, one_shot=True, timeout=300)
        self.access.output(self.plan.host, command)
        return ""

    def create(self) -> str:
        """Have the container made, which makes the OSD."""
        allow = (Impact.DATA_PLANE,)
        request = ApplyRequest(
            services=(CEPH,), hosts=(self.plan.host,), allow=allow, probe=ProbeOptions(enabled=False)
        )
        Apply(self.region, request).execute(self.session)
        return ""

    def fill(self) -> str:
        """Wait until every copy is where it belongs."""
        self._wait(self._unclean)
        return "all copies are there"

    def _osds(self) -> list[int]:
        return [] if self.plan.osd is None else [self.plan.osd]

    def _there(self) -> list[disks.Osd]:
        """The OSD, as the cluster knows it; empty: it does not any more."""
        return [o for o in disks.osds(self.monitors.ask(disks.QUESTIONS)) if o.number == self.plan.osd]

    def _still_up(self) -> Left:
        up = any(o.up for o in self._there())
        return Left((int(up),), f"osd.{self.plan.osd} is still up for the monitors" if up else "")

    def _unclean(self) -> Left:
        found = Status.parse(self.monitors.ask(status.QUESTIONS))
        copies = found.degraded + found.misplaced
        left = found.unclean + copies
        return Left((left,), f"{found.unclean} placement groups, {copies} copies of objects to go" if left else "")

    def _wait(self, look_: Callable[[], Left]) -> None:
        """Wait until nothing is left.

        :raises ScsError: it does not become less
        """

        def checked() -> Left:
            self.session.check()
            return look_()

        progress.wait(self.access, checked, self.plan.container, "scs storage status; then repeat it")
