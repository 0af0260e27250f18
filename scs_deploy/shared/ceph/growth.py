# SPDX-License-Identifier: Apache-2.0
"""Whether what is declared fits on the disks: more copies, data that moves, ratios that are lowered. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from scs_deploy.base.sizes import size
from scs_deploy.region.pools import PoolWish
from scs_deploy.shared.ceph import room
from scs_deploy.shared.ceph.desired import Desired
from scs_deploy.shared.ceph.observed import Observed, ObservedPool
from scs_deploy.shared.ceph.room import Load, Place

STOPS = {"full": "every write would be refused", "backfillfull": "no data could be moved to it"}
"""Ratio: what a disk over it means."""


def asks(desired: Desired, observed: Observed) -> bool:
    """Whether the disks must be known."""
    return bool(moving(desired, observed) or _lowered(desired, observed))


def moving(desired: Desired, observed: Observed) -> list[PoolWish]:
    """Pools whose data gets more copies, or other places."""
    racks = _racks(desired, observed) != observed.racks
    return [
        pool
        for pool in desired.pools.values()
        if (there := observed.pools.get(pool.name)) and not is_recreated(pool, there)
        and (pool.size > there.size or pool.rule.name != there.rule or (racks and pool.rule.domain == "rack")
             or _splits(pool, there))
    ]  # fmt: skip


def is_recreated(pool: PoolWish, there: ObservedPool) -> bool:
    """Whether a pool can only be deleted and made anew."""
    return there.erasure != (str(pool.rule.erasure) if pool.rule.erasure else "")


def problems(desired: Desired, observed: Observed) -> dict[str, str]:
    """Pool: why its change does not fit, all changes taken together."""
    pools = moving(desired, observed)
    found = {}
    if observed.fill and observed.fill.refuses_moves:
        why = f"data that moves finds no room: {observed.fill.which}"
        found = {p.name: why for p in pools if _splits(p, observed.pools[p.name])}
    before = loads(observed)
    after = before | {p.name: _declared(p, observed.pools[p.name]) for p in pools}
    racks = _racks(desired, observed)
    worst = room.fullest(
        places(observed, observed.racks), list(before.values()), places(observed, racks), list(after.values())
    )
    if worst and (why := worst.too_full(limit(desired, observed))):
        needs = {p.name: after[p.name].used - before[p.name].used for p in pools}
        found |= {name: f"needs {size(more)} more: {why}" if more else why for name, more in needs.items()}
    return found


def lowered(desired: Desired, observed: Observed) -> str:
    """Why ratios cannot be lowered; empty: they can, or they are not."""
    for name in _lowered(desired, observed):
        wanted = getattr(desired.ratios, name)
        for osd in sorted(observed.osds, key=lambda o: o.share, reverse=True)[:1]:
            if osd.share >= wanted:
                return (
                    f"{name} {room.percent(observed.ratios[name])} -> {room.percent(wanted)}: osd.{osd.number} is "
                    f"{room.percent(osd.share)} full: {STOPS[name]}"
                )
    return ""


def limit(desired: Desired, observed: Observed) -> float:
    """How full a disk may become by a change."""
    return desired.ratios.nearfull if desired.ratios else observed.ratios.get("nearfull", room.NEARFULL)


def loads(observed: Observed) -> dict[str, Load]:
    """Pool: its data."""
    result = {}
    for name, pool in observed.pools.items():
        if rule := observed.rules.get(pool.rule):
            result[name] = Load(
                used=pool.used, copies=pool.size, domain=rule.domain or "osd", device_class=rule.device_class
            )
    return result


def places(observed: Observed, racks: Mapping[str, str]) -> list[Place]:
    """The OSDs that data is placed on.

    :param racks: host: its rack
    """
    return [
        Place(
            osd=o.number, size=o.size, used=o.used, device_class=o.device_class,
            buckets={"host": o.host, "rack": racks.get(o.host, "")},
        )
        for o in observed.osds
        if o.inside
    ]  # fmt: skip


def _declared(pool: PoolWish, there: ObservedPool) -> Load:
    """A pool's data after the change."""
    used = there.used * pool.size // there.size
    return Load(used=used, copies=pool.size, domain=pool.rule.domain, device_class=pool.rule.device_class)


def _splits(pool: PoolWish, there: ObservedPool) -> bool:
    """Whether it gets another number of placement groups, which moves data."""
    return pool.placement_groups is not None and pool.placement_groups != there.placement_groups


def _racks(desired: Desired, observed: Observed) -> dict[str, str]:
    return observed.racks | desired.racks


def _lowered(desired: Desired, observed: Observed) -> list[str]:
    wanted = desired.ratios.model_dump() if desired.ratios else {}
    return [name for name in STOPS if name in wanted and wanted[name] < observed.ratios.get(name, 0) - 1e-4]
