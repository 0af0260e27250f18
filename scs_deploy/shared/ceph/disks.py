# SPDX-License-Identifier: Apache-2.0
"""The disks of hosts and the OSDs on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model

QUESTIONS: tuple[dict[str, Any], ...] = ({"prefix": "osd dump"}, {"prefix": "osd df", "output_method": "tree"})
"""What `osds` takes the answers of, in this order."""

DESTROYED = "destroyed"
REMOVED = "removed from the cluster"
"""State of a disk whose container still has the number of an OSD that the cluster has no more."""


class Osd(Model):
    """An OSD of the cluster."""

    number: int
    host: str
    device_class: str = ""
    up: bool
    inside: bool = Field(description="data is placed on it")
    destroyed: bool = Field(default=False, description="its data is gone; its number waits for another disk")
    size: int = Field(default=0, description="bytes")
    used: int = Field(default=0, description="bytes")
    placement_groups: int = 0

    @property
    def share(self) -> float:
        """Of its size, that is in use."""
        return self.used / self.size if self.size else 0.0

    @property
    def state(self) -> str:
        """In words."""
        if self.destroyed:
            return DESTROYED
        if self.up:
            return "in use" if self.inside else "emptied" if not self.placement_groups else "empties"
        return "down" if self.inside else "down, out"


class Disk(Model):
    """A disk, its container and the OSD on it."""

    host: str
    disk: str = Field(description="name in the inventory; empty: the inventory has no disk of this OSD")
    path: str = ""
    container: str = ""
    osd: int | None = Field(default=None, description="number of its OSD; None: it has none yet")
    state: str
    device_class: str = ""
    size: int = 0
    used: int = 0
    placement_groups: int = 0

    @property
    def works(self) -> bool:
        """Whether it holds data as it should."""
        return self.state == "in use"


class Place(Model):
    """A disk of the inventory, and what its container says."""

    host: str
    disk: str
    path: str
    container: str
    osd: int | None = None
    unreachable: bool = False


def osds(answers: Sequence[Any]) -> tuple[Osd, ...]:
    """The cluster's OSDs, from the answers to `QUESTIONS`, by number."""
    dump, usage = answers
    nodes = {n["id"]: n for n in (*usage["nodes"], *usage.get("stray", ()))}
    host_of = {c: n["name"] for n in nodes.values() if n["type"] == "host" for c in n.get("children", ())}
    result = []
    for one in dump["osds"]:
        node = nodes.get(one["osd"], {})
        result.append(
            Osd(
                number=one["osd"],
                host=host_of.get(one["osd"], ""),
                device_class=node.get("device_class", ""),
                up=bool(one["up"]),
                inside=bool(one["in"]),
                destroyed=DESTROYED in one.get("state", ()),
                size=node.get("kb", 0) * 1024,
                used=node.get("kb_used", 0) * 1024,
                placement_groups=node.get("pgs", 0),
            )
        )
    return tuple(sorted(result, key=lambda o: o.number))


def table(places: Iterable[Place], found: Sequence[Osd]) -> tuple[Disk, ...]:
    """Every disk of the inventory, and every OSD without one, by host.

    A container that does not say which OSD it has, has the only one of its host that no other container has.
    """
    places = list(places)
    known: Mapping[int, Osd] = {o.number: o for o in found}
    claimed = {p.osd for p in places if p.osd is not None}
    rows = []
    for place in places:
        number = place.osd
        if number is None:
            silent = [p for p in places if p.host == place.host and p.osd is None]
            left = [o.number for o in found if o.host == place.host and o.number not in claimed]
            number = left[0] if len(left) == 1 and len(silent) == 1 else None
        if number is not None:
            claimed.add(number)
        rows.append(_row(place, known.get(number) if number is not None else None))
    rows += [_stranger(o) for o in found if o.number not in claimed]
    return tuple(sorted(rows, key=lambda r: (r.host, r.disk or "~", r.osd if r.osd is not None else -1)))


def _row(place: Place, osd: Osd | None) -> Disk:
    at = {"host": place.host, "disk": place.disk, "path": place.path, "container": place.container}
    if osd is None and place.osd is not None:
        return Disk(**at, osd=place.osd, state=REMOVED)
    if osd is None:
        return Disk(**at, state="unknown: host unreachable" if place.unreachable else "no OSD")
    return Disk(
        **at, osd=osd.number, state=osd.state, device_class=osd.device_class, size=osd.size, used=osd.used,
        placement_groups=osd.placement_groups,
    )  # fmt: skip


def _stranger(osd: Osd) -> Disk:
    return Disk(
        host=osd.host, disk="", osd=osd.number, state=osd.state, device_class=osd.device_class, size=osd.size,
        used=osd.used, placement_groups=osd.placement_groups,
    )  # fmt: skip
