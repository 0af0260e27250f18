# SPDX-License-Identifier: Apache-2.0
"""What happens to the OSD of a disk, in which steps, and what is refused. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.sizes import size
from scs_deploy.shared.ceph import growth, room
from scs_deploy.shared.ceph.disks import Disk
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.room import Place
from scs_deploy.shared.ceph.status import Status

Verb = Literal["add", "replace", "remove"]

LOST = ("down", "incomplete", "stale", "unknown")
"""Parts of the state of a placement group whose data is not there."""


class Facts(Model):
    """What is known of the disk and its cluster."""

    disk: Disk
    table: tuple[Disk, ...]
    health: Status
    pools: Observed
    stops: bool = Field(description="whether all data stays available when its OSD stops")

    @property
    def runs(self) -> bool:
        """Whether its OSD runs."""
        return self.disk.state in ("in use", "empties", "emptied")

    @property
    def unavailable(self) -> int:
        """Placement groups whose data is not there now."""
        return sum(n for s, n in self.health.placement_groups.items() if not set(s.split("+")).isdisjoint(LOST))

    def lacking(self) -> str:
        """Which pool would have too few places without the disk; empty: none."""
        others = [d for d in self.table if d.osd is not None and d.osd != self.disk.osd and d.state == "in use"]
        for pool in self.pools.pools.values():
            rule = self.pools.rules.get(pool.rule)
            if rule is None:
                continue
            fitting = [d for d in others if rule.device_class in (None, d.device_class)]
            there = {
                "osd": len(fitting),
                "host": len({d.host for d in fitting}),
                "rack": len({self.pools.racks.get(d.host, "") for d in fitting}),
            }.get(rule.domain, len(fitting))
            if there < pool.size:
                left = f"only {there} {rule.domain}{'s' * (there != 1)} would remain"
                return f"pool {pool.name} keeps {pool.size} copies or parts, and {left}"
        return ""

    def too_full(self) -> str:
        """Why its data finds no room elsewhere, with the figure; empty: it does."""
        own = [self.disk] if self.disk.state == "down" else []  # one that is out has its data elsewhere by now
        holding = [d for d in (*self.table, *own) if d.osd is not None and (d.works or d in own)]
        there = [_place(d, self.pools.racks.get(d.host, "")) for d in holding]
        loads = list(growth.loads(self.pools).values())
        rest = [p for p in there if p.osd != self.disk.osd]
        worst = room.fullest(there, loads, rest, loads)
        why = worst.too_full(self.pools.ratios.get("nearfull", room.NEARFULL)) if worst else ""
        if why:
            return f"the {size(self.disk.used)} on osd.{self.disk.osd} find no room elsewhere: {why}"
        if self.health.fill and self.health.fill.refuses_moves:
            return f"data that moves finds no room: {self.health.fill.which}"
        return ""


def _place(disk: Disk, rack: str) -> Place:
    assert disk.osd is not None
    return Place(
        osd=disk.osd, size=disk.size, used=disk.used, device_class=disk.device_class,
        buckets={"host": disk.host, "rack": rack},
    )  # fmt: skip


class PlanStep(Model):
    """A step of a plan."""

    key: str
    title: str


class OsdPlan(Model):
    """What will happen."""

    verb: Verb
    host: str
    disk: str
    path: str
    container: str
    osd: int | None
    steps: tuple[PlanStep, ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def decide(verb: Verb, host: str, disk: str, erase: bool, facts: Facts) -> OsdPlan:
    """The plan.

    :param erase: the disk keeps what it is, and is erased
    """
    row = facts.disk
    plan = OsdPlan(verb=verb, host=host, disk=disk, path=row.path, container=row.container, osd=row.osd)
    steps, refusals, notes = {"add": _add, "replace": _replace, "remove": _remove}[verb](facts, erase)
    return plan.model_copy(
        update={
            "steps": tuple(PlanStep(key=k, title=t) for k, t in steps) if not refusals else (),
            "refusals": tuple(refusals),
            "notes": tuple(notes),
        }
    )


Parts = tuple[list[tuple[str, str]], list[str], list[str]]


def _add(facts: Facts, erase: bool) -> Parts:
    if facts.disk.works:
        return [], [], []
    steps = [("erase", f"erase {facts.disk.path}")] if erase else []
    return [*steps, *_new()], [], []


def _new() -> list[tuple[str, str]]:
    return [
        ("create", "make a new OSD on the disk, by `scs apply ceph` for this host"),
        ("fill", "wait until every copy is where it belongs"),
    ]


def _gone(facts: Facts) -> list[tuple[str, str]]:
    return [
        ("stop", f"stop {facts.disk.container}"),
        ("drop", f"remove osd.{facts.disk.osd} from the cluster, and its container"),
    ]


def _replace(facts: Facts, erase: bool) -> Parts:
    row = facts.disk
    if row.osd is None:
        return _add(facts, erase)
    refusals, notes = _losses(facts), []
    steps = []
    if facts.runs:
        if why := facts.lacking() or facts.too_full():
            notes.append(f"{why}: until the new disk is filled, its data has one copy less")
            refusals += _needs_others(facts)
        else:
            steps.append(("empty", f"move all data off osd.{row.osd}"))
    if not erase:
        notes.append(f"the new disk is at {row.path}, and is blank; --erase erases the one that is there")
    wipe = [("erase", f"erase {row.path}")] if erase else []
    return [*steps, *_gone(facts), *wipe, *_new()], refusals, notes


def _remove(facts: Facts, erase: bool) -> Parts:
    row = facts.disk
    if row.osd is None:
        return [], [], []
    refusals = _losses(facts)
    if why := facts.lacking():
        refusals.append(why)
    if why := facts.too_full():
        refusals.append(why)
    steps = [("empty", f"move all data off osd.{row.osd}")] if facts.runs else []
    wipe = [("erase", f"erase {row.path}")] if erase else []
    note = f"remove {row.disk} from the disks of {row.host} in the inventory: `scs apply` would make an OSD on it again"
    return [*steps, *_gone(facts), *wipe], refusals, [note]


def _losses(facts: Facts) -> list[str]:
    """Why data would be lost with the disk as it is now."""
    osd = f"osd.{facts.disk.osd}"
    if facts.health.unfound:
        return [f"{facts.health.unfound} objects are on no disk that is there; {osd} may have them"]
    if facts.unavailable:
        return [f"data of {facts.unavailable} placement groups is not there; {osd} may have it"]
    return []


def _needs_others(facts: Facts) -> list[str]:
    """Why a disk that cannot be emptied before must stay."""
    if facts.health.refuses_writes and facts.health.fill:
        return [f"{facts.health.fill.which}: copies on osd.{facts.disk.osd} cannot be made anew before there is room"]
    if facts.health.unclean:
        return [f"{facts.health.unclean} placement groups lack copies already: wait until they have all"]
    return [] if facts.stops else [f"some data cannot be used while osd.{facts.disk.osd} is away"]
