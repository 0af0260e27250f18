# SPDX-License-Identifier: Apache-2.0
"""How full a cluster is, and how full a change would make it. Pure.

Sources: https://docs.ceph.com/en/tentacle/rados/operations/health-checks/#osd-full, .../rados/operations/crush-map/.
What a full cluster does was seen with Ceph 20.2: clients that write wait, radosgw answers 507; who opens an image for
writing waits, also to delete it as Cinder and Glance do, and so does a radosgw that starts; what is deleted while an
OSD is down stays on it (recovery_toofull).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.words import Words

GUIDE = "docs/how-to/storage.md#a-full-cluster"
NEARFULL = 0.85
"""Ceph's default."""

SHOWN = 5
"""OSDs that a line names."""


class Level(Words):
    """How full the fullest disk is, the worst first."""

    FULL = "full", "Ceph refuses writes, and loses none; add disks, or raise `ratios` a little and delete data"
    BACKFILLFULL = "backfillfull", "copies of a lost disk find no room; add disks or delete data now"
    NEARFULL = "nearfull", "writes go on; add disks or delete data before they are refused"


CHECKS = {f"OSD_{level.upper()}": level for level in Level}
"""Health check of the monitors: what it says."""

_OSD = re.compile(r"\bosd\.(\d+)\b")


class Fill(Model):
    """A cluster that is short of room."""

    level: Level
    summary: str = Field(description="as Ceph says, e.g. `3 full osd(s)`")
    osds: tuple[int, ...] = Field(default=(), description="those that are this full, if known")
    ratio: float = Field(default=0, description="that they are over; 0: unknown")

    @property
    def line(self) -> str:
        """What is the case and what to do, in one line."""
        return f"{self.level}: {self.which}: {self.level.meaning}: {GUIDE}"

    @property
    def which(self) -> str:
        """Which disks are how full."""
        if not self.osds:
            return self.summary
        named = ", ".join(f"osd.{o}" for o in self.osds[:SHOWN])
        more = f" and {len(self.osds) - SHOWN} more" if len(self.osds) > SHOWN else ""
        over = f"over {percent(self.ratio)}" if self.ratio else self.level
        return f"{named}{more} {'is' if len(self.osds) == 1 else 'are'} {over}"

    @property
    def refuses_writes(self) -> bool:
        """Whether no client can write."""
        return self.level is Level.FULL

    @property
    def refuses_moves(self) -> bool:
        """Whether data that should move finds no room."""
        return self.level is not Level.NEARFULL


def refusal(found: Fill | None) -> str:
    """Why no client can write now; empty: they can, or nobody knows."""
    return found.which if found and found.refuses_writes else ""


def fill(health: Mapping[str, Any], ratios: Mapping[str, float]) -> Fill | None:
    """The worst of what `health` says, with or without its details; None: there is room.

    :param ratios: of the levels, from `osd dump`
    """
    found = health.get("checks", {})
    for name, level in CHECKS.items():
        if name in found:
            details = " ".join(d["message"] for d in found[name].get("detail", ()))
            return Fill(
                level=level, summary=found[name]["summary"]["message"], osds=tuple(map(int, _OSD.findall(details))),
                ratio=ratios.get(level, 0),
            )  # fmt: skip
    return None


def percent(share: float) -> str:
    """`95 %`, `1.5 %`."""
    return f"{round(100 * share, 1):g} %"


# what a change does


class Place(Model):
    """An OSD that data is placed on."""

    osd: int
    size: int = Field(description="bytes")
    used: int = Field(description="bytes")
    device_class: str = ""
    buckets: dict[str, str] = Field(default={}, description="type of a bucket, e.g. host: the one that it is in")

    def bucket(self, kind: str) -> str:
        """The bucket of a type that it is in."""
        return str(self.osd) if kind == "osd" else self.buckets.get(kind, "")


class Load(Model):
    """Data of a pool, and where its rule puts it."""

    used: int = Field(description="bytes on all disks together")
    copies: int = Field(description="or parts, each in another bucket")
    domain: str = Field(description="type of these buckets")
    device_class: str | None = None


class Fullest(Model):
    """The disk with the least room of those that a change puts data on."""

    osd: int
    share: float = Field(description="of its size, that would be in use")
    bytes: int = Field(description="that all disks together would get")

    def too_full(self, limit: float) -> str:
        """Why that is too much; empty: it is not."""
        if self.share <= limit:
            return ""
        return f"osd.{self.osd} would be {percent(self.share)} full, more than nearfull ({percent(limit)})"


def fullest(
    before: Collection[Place], loads: Sequence[Load], after: Collection[Place], moved: Sequence[Load]
) -> Fullest | None:
    """The fullest disk of those that hold more afterwards; None: none does.

    What is on disks and of no pool that is known, counts as data that may go to any disk.

    :param before, loads: disks and pools as they are
    :param after, moved: the same, as they would be
    """
    rest = max(0, sum(p.used for p in before) - sum(load.used for load in loads))
    other = Load(used=rest, copies=1, domain="osd")
    there, wanted = _filled(before, [*loads, other]), _filled(after, [*moved, other])
    growth = {p.osd: wanted.get(p.osd, 0) - there.get(p.osd, 0) for p in after}
    more = [(p.used + growth[p.osd], p) for p in after if p.size and growth[p.osd] >= 1]
    if not more:
        return None
    used, worst = max(more, key=lambda m: m[0] / m[1].size)
    return Fullest(osd=worst.osd, share=used / worst.size, bytes=round(sum(growth[p.osd] for _, p in more)))


def _filled(places: Collection[Place], loads: Iterable[Load]) -> dict[int, float]:
    """OSD: bytes that CRUSH would put there."""
    result: dict[int, float] = {}
    for load in loads:
        for osd, share in spread(places, load).items():
            result[osd] = result.get(osd, 0) + share * load.used
    return result


def spread(places: Iterable[Place], load: Load) -> dict[int, float]:
    """OSD: share of a pool's bytes. Larger disks get more, but no bucket holds two copies."""
    buckets: dict[str, list[Place]] = {}
    for place in places:
        if load.device_class in (None, "", place.device_class):
            buckets.setdefault(place.bucket(load.domain), []).append(place)
    sizes = {name: sum(p.size for p in own) for name, own in buckets.items()}
    shares = _capped({n: s for n, s in sizes.items() if s}, 1 / load.copies)
    return {p.osd: share * p.size / sizes[name] for name, share in shares.items() for p in buckets[name]}


def _capped(sizes: Mapping[str, int], most: float) -> dict[str, float]:
    """Shares in proportion to sizes, none above `most`: what is above it goes to the others."""
    result: dict[str, float] = {}
    left, rest = 1.0, dict(sizes)
    while rest:
        total = sum(rest.values())
        shares = {n: left * s / total for n, s in rest.items()}
        over = [n for n, share in shares.items() if share > most + 1e-9]
        if not over:
            return result | shares
        for name in over:
            result[name] = most
            left -= most
            del rest[name]
    return result
