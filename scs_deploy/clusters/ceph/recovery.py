# SPDX-License-Identifier: Apache-2.0
"""Ceph's monitors: compares what each says and stores with the inventory, and decides how a quorum comes back. Pure.

Sources: https://docs.ceph.com/en/tentacle/rados/operations/add-or-rm-mons/ (removing monitors from an unhealthy
cluster), .../rados/troubleshooting/troubleshooting-mon/ (recovery using OSDs).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import Recovery, RecoveryOptions, RecoveryStep, known, names
from scs_deploy.clusters.ceph.view import Monitor
from scs_deploy.engine.remote import ContainerState
from scs_deploy.region.ceph import MONITOR

APPLY = (
    "run `scs apply` afterwards, which gives services their keys again, and `scs backup restore --only ceph`, which "
    "brings back what others had made"
)


class Store(StrEnum):
    """A monitor's store."""

    PRESENT = "present"
    EMPTY = "empty"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


class Member(Model):
    """The observed state of one host's monitor."""

    host: str
    container: ContainerState
    why: str = ""
    monitor: Monitor | None = Field(default=None, description="what it says of itself; None: it does not answer")
    store: Store = Store.UNKNOWN
    listed: dict[str, str] = Field(default_factory=dict, description="monitors in its map, from itself or its store")
    epoch: int = Field(default=0, description="of that map")

    @property
    def serves(self) -> bool:
        """Whether it belongs to a quorum."""
        return self.monitor is not None and self.monitor.serves

    @property
    def reachable(self) -> bool:
        """Whether its host answers."""
        return self.container is not ContainerState.UNREACHABLE

    @property
    def holds(self) -> bool:
        """Whether its store can be used."""
        return self.store is Store.PRESENT or (self.store is Store.UNKNOWN and self.monitor is not None)


class Disks(Model):
    """What recovery has to know of OSDs."""

    containers: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="host: containers of OSDs")
    unreachable: dict[str, str] = Field(default_factory=dict, description="host with OSDs: what ssh said")
    leftover: tuple[str, ...] = Field(default=(), description="hosts in service that still have noout by us")


class CephOptions(RecoveryOptions):
    """Repair the quorum of monitors: start them, have lost ones join anew, rebuild their store.

    With --without the cluster forgets that monitor; without it, an unreachable one stays a member.
    """

    source: str = Field(
        default="",
        description="The quorum is lost for good: go on with this monitor's store alone, then have the others join.",
        json_schema_extra={"option": "--from", "metavar": "HOST"},
    )
    from_osds: bool = Field(
        default=False,
        description="No monitor has its store: make one of what all OSDs know. They stop meanwhile.",
    )

    def check(self) -> None:
        """Refuse both sources."""
        if self.source and self.from_osds:
            raise RefusedError("--from has a monitor whose store is used, --from-osds is for when there is none",
                               "choose one")  # fmt: skip


def without_quorum(m: Member) -> Member:
    """A monitor that believes to belong to a quorum, which does not answer."""
    if m.monitor is None or not m.serves:
        return m
    return m.model_copy(update={"monitor": m.monitor.model_copy(update={"state": "no quorum answers", "quorum": ()})})


def settling(members: Collection[Member]) -> str:
    """Monitors that may be starting, or electing."""
    waiting = [m.host for m in members if m.container is ContainerState.RUNNING and not m.serves]
    return f"waiting for the monitor on {names(waiting)}" if waiting else ""


def decide(members: Collection[Member], disks: Disks, options: CephOptions) -> Recovery:
    """Decide how to recover the quorum.

    :raises RefusedError: too few monitors have their store, and the operator did not say what to use
    """
    known("ceph", {m.host for m in members} | disks.containers.keys(),
          (*options.without, *filter(None, [options.source])))  # fmt: skip
    ordered = sorted(members, key=lambda m: m.host)
    usable = [m for m in ordered if m.reachable and m.host not in options.without]
    if not usable:
        raise RefusedError("no monitor of Ceph is reachable", "check the power and network of its hosts")
    serving = [m for m in usable if m.serves]
    if serving:
        if options.source or options.from_osds:
            raise RefusedError(
                f"Ceph has a quorum: {names(m.host for m in serving)}", "leave --from and --from-osds out"
            )
        found = _beside(max(serving, key=lambda m: m.epoch), ordered, usable, disks, options)
    else:
        found = _without_quorum(ordered, usable, disks, options)
    return found.model_copy(update={"members": tuple(map(row, ordered))})


def row(m: Member) -> dict[str, str]:
    """A line of the table."""
    return {
        "host": m.host,
        "container": m.container.value,
        "state": m.monitor.state if m.monitor else m.why,
        "quorum": " ".join(m.monitor.quorum) if m.monitor else "",
        "store": m.store.value,
        "map": str(m.epoch or ""),
        "counts": " ".join(sorted(m.listed)),
    }


def _beside(
    keeper: Member, members: list[Member], usable: list[Member], disks: Disks, options: CephOptions
) -> Recovery:
    """A quorum works: forget monitors that no longer exist, and bring the others back."""
    wanted = {m.host for m in members} - set(options.without)
    steps = [_forget(keeper.host, name) for name in sorted(set(keeper.listed) - wanted)]
    steps += [_join(m) if _is_lost(m, keeper) else _start([m]) for m in usable if not m.serves]
    steps += [
        RecoveryStep(action="let_go", hosts=(keeper.host,), target=host, container=MONITOR,
                     what=f"take back noout of {host}, which an interrupted command left")
        for host in disks.leftover
    ]  # fmt: skip
    warnings = [
        f"{m.host} is not reachable ({m.why}) and stays a member; --without {m.host} makes the cluster forget it"
        for m in members
        if not m.reachable and m.host not in options.without
    ]
    quorum = keeper.monitor.quorum if keeper.monitor else ()
    return Recovery(
        members=(), steps=tuple(steps), warnings=tuple(warnings),
        summary=f"{names(quorum)} form the quorum of {len(keeper.listed)} monitors",
    )  # fmt: skip


def _is_lost(m: Member, keeper: Member) -> bool:
    """Whether a monitor must become a new member: it lost its store, or the others removed it."""
    return m.store in (Store.EMPTY, Store.DAMAGED) or m.host not in keeper.listed


def _without_quorum(members: list[Member], usable: list[Member], disks: Disks, options: CephOptions) -> Recovery:
    """No quorum: start enough monitors, or rebuild."""
    holders = [m for m in usable if m.holds]
    newest = max(members, key=lambda m: m.epoch)
    counted = newest.listed or {m.host: "" for m in members}
    needed = len(counted) // 2 + 1
    voters = [m for m in holders if m.host in counted]
    found = f"no quorum; {len(voters)} of {len(counted)} monitors have their store, a quorum is {needed}"
    if len(voters) >= needed:
        if options.source or options.from_osds:
            raise RefusedError(f"{found}: there is nothing to rebuild", "leave --from and --from-osds out")
        # once there is a quorum, it is known which others must join anew
        return Recovery(members=(), steps=(_start(voters),), summary=found, partial=len(voters) < len(usable))
    if options.from_osds:
        return _from_osds(members, usable, holders, disks, options, found)
    if options.source:
        return _from_monitor(members, usable, holders, options.source, found)
    if not holders:
        raise RefusedError(
            f"{found}: the cluster cannot elect a leader", "bring the others back; or rebuild it with --from-osds"
        )
    stores = ", ".join(f"{m.host} (map {m.epoch})" for m in holders)
    raise RefusedError(
        f"{found}: the cluster cannot elect a leader",
        f"bring the others back; or give up their latest changes with --from HOST, one of: {stores}",
    )


def _from_monitor(
    members: list[Member], usable: list[Member], holders: list[Member], source: str, found: str
) -> Recovery:
    origin = next((m for m in holders if m.host == source), None)
    if origin is None:
        raise RefusedError(
            f"the monitor on {source} has no store to go on with",
            f"monitors with a store: {names(m.host for m in holders) or 'none: --from-osds'}",
        )
    warnings = [f"changes that had not reached {source} when the quorum was lost will be lost"]
    warnings += _old_ones(members)
    steps = (
        *_stop(usable),
        RecoveryStep(action="alone", hosts=(source,), container=MONITOR, create=_absent(origin),
                     what="go on with its store as the only monitor; a copy of the store is kept"),
        *(_join(m) for m in usable if m is not origin),
    )  # fmt: skip
    return Recovery(members=(), steps=steps, warnings=tuple(warnings), summary=found)


def _from_osds(
    members: list[Member], usable: list[Member], holders: list[Member], disks: Disks, options: CephOptions, found: str
) -> Recovery:
    if holders:
        raise RefusedError(
            f"the monitor on {names(m.host for m in holders)} has its store, which knows more than OSDs do",
            f"use --from {holders[0].host}",
        )
    lost = {**{m.host: m.why for m in members if not m.reachable}, **disks.unreachable}
    if lost := {h: why for h, why in lost.items() if h not in options.without}:
        raise RefusedError(
            f"could not reach {names(lost)} ({'; '.join(lost.values())}), which may know more",
            "bring it back, or add " + " ".join(f"--without {h}" for h in sorted(lost)),
        )
    places = [
        (h, c) for h, own in sorted(disks.containers.items())
        if h not in (*options.without, *disks.unreachable) for c in own
    ]  # fmt: skip
    if not places:
        raise RefusedError("there is no OSD to rebuild the monitors' store from", "restore a backup")
    first = usable[0]
    sources = ["", *(f"{h}/{c}" for h, c in places)]
    collect = [
        RecoveryStep(action="collect", hosts=(host,), container=container, target=before,
                     what=f"{container}: add what its OSD knows to the monitors' store")
        for (host, container), before in zip(places, sources, strict=False)
    ]  # fmt: skip
    by_container: dict[str, list[str]] = {}
    for host, container in places:
        by_container.setdefault(container, []).append(host)
    stop = [RecoveryStep(action="stop", hosts=tuple(h), container=c, what=f"stop {c}") for c, h in by_container.items()]
    start = [RecoveryStep(action="begin", hosts=tuple(h), container=c, what=f"start {c}")
             for c, h in by_container.items()]  # fmt: skip
    steps = (
        *_stop(usable), *stop, *collect,
        RecoveryStep(action="rebuild", hosts=(first.host,), container=MONITOR, target=sources[-1],
                     create=_absent(first), what="make the store of the first monitor of it"),
        *(_join(m) for m in usable if m is not first),
        RecoveryStep(action="managers", hosts=tuple(m.host for m in usable), container="ceph_mgr",
                     what="give managers their keys and OSDs their rights again, and start managers"),
        *start,
    )  # fmt: skip
    warnings = (
        "Ceph's own configuration database, its keys of clients and its records of CephFS are lost: " + APPLY,
        "hosts that are drained keep noout, which only the backup knows as ours: ceph osd unset-group noout HOST",
        *_old_ones(members),
    )
    return Recovery(members=(), steps=steps, warnings=warnings, summary=found)


def _old_ones(members: Iterable[Member]) -> list[str]:
    return [
        f"{m.host} is not reachable ({m.why}); its monitor is of the old quorum: run `scs recover ceph` when it is back"
        for m in members
        if not m.reachable
    ]


def _absent(m: Member) -> bool:
    return m.container is ContainerState.ABSENT


def _stop(members: Iterable[Member]) -> list[RecoveryStep]:
    there = tuple(m.host for m in members if not _absent(m))
    return [RecoveryStep(action="stop", hosts=there, container=MONITOR, what=f"stop {MONITOR}")] if there else []


def _start(members: Collection[Member]) -> RecoveryStep:
    return RecoveryStep(
        action="start", hosts=tuple(m.host for m in members), container=MONITOR, create=any(map(_absent, members)),
        what=f"start {MONITOR} and wait until it belongs to a quorum",
    )  # fmt: skip


def _join(m: Member) -> RecoveryStep:
    aside = "" if m.store is Store.EMPTY else "set its store aside, "
    return RecoveryStep(
        action="join", hosts=(m.host,), container=MONITOR, create=_absent(m),
        what=f"{aside}join the others as a new monitor",
    )  # fmt: skip


def _forget(host: str, name: str) -> RecoveryStep:
    return RecoveryStep(
        action="forget", hosts=(host,), container=MONITOR, target=name, what=f"remove monitor {name} from the cluster"
    )


def leftovers(ours: Collection[str], drained: Collection[str]) -> tuple[str, ...]:
    """Hosts whose noout an interrupted command left: it is ours, and no operator keeps the host out of service."""
    return tuple(sorted(set(ours) - set(drained)))
