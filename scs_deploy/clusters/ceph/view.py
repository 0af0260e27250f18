# SPDX-License-Identifier: Apache-2.0
"""What Ceph says of itself: parsed answers of `ceph_view.py` and `mon_status`, and what follows from them. Pure.

Sources: https://docs.ceph.com/en/tentacle/man/8/ceph/ (commands), .../rados/operations/crush-map/ (rules, failure
domains), .../rados/operations/pg-states/
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.base.sizes import size
from scs_deploy.shared.ceph import room
from scs_deploy.shared.ceph.room import Fill, Load, Place

SERVES = ("leader", "peon")
"""States of a monitor that belongs to a quorum."""

LACKING = frozenset(
    (
        "activating", "creating", "degraded", "down", "failed_repair", "incomplete", "inconsistent", "peered",
        "peering", "recovery_toofull", "recovery_unfound", "stale", "undersized", "unknown",
    )
)  # fmt: skip
"""States of a placement group that serves nobody, or that has fewer copies than it should."""


class Osd(Model):
    """One OSD."""

    id: int
    host: str
    device_class: str = ""
    up: bool
    inside: bool = Field(description="data is placed on it")
    kb: int = 0
    kb_used: int = 0
    groups: int = Field(default=0, description="placement groups on it")


class Domain(Model):
    """How many different buckets of a type a pool's rule needs, below a root."""

    root: str
    device_class: str = ""
    type: str
    count: int


class Pool(Model):
    """One pool."""

    name: str
    size: int
    domains: tuple[Domain, ...]
    used: int = Field(default=0, description="bytes on all disks together; 0: unknown")

    @property
    def load(self) -> Load:
        """Its data, and where the last choice of its rule puts it."""
        last = self.domains[-1] if self.domains else Domain(root="", type="osd", count=self.size)
        return Load(used=self.used, copies=self.size, domain=last.type, device_class=last.device_class or None)


class Groups(Model):
    """What placement groups lack."""

    inactive: int = Field(default=0, description="groups that serve nobody")
    degraded: int = Field(default=0, description="copies of objects that are missing")
    misplaced: int = Field(default=0, description="copies of objects that are elsewhere than they should be")
    lacking: dict[str, int] = Field(default_factory=dict, description="state: groups without all copies")
    rate: float = Field(default=0, description="objects that are copied in a second")

    @property
    def text(self) -> str:
        """In words; '' if nothing lacks a copy."""
        words = [
            f"{counted(n, 'placement group')} {'is' if n == 1 else 'are'} {s}" for s, n in sorted(self.lacking.items())
        ]
        if self.degraded:
            words.append(f"{counted(self.degraded, 'copy', 'copies')} of objects missing")
        if self.misplaced:
            words.append(f"{counted(self.misplaced, 'copy', 'copies')} of objects to move")
        return ", ".join(words)


class Ceph(Model):
    """The cluster as its quorum knows it."""

    monitors: tuple[str, ...]
    quorum: tuple[str, ...]
    leader: str
    epoch: int = Field(description="of the map of monitors")
    manager: str = Field(description="active one; '' if there is none")
    standbys: tuple[str, ...]
    osds: tuple[Osd, ...]
    buckets: dict[str, tuple[str, frozenset[int]]] = Field(description="name: type, and the OSDs below")
    pools: tuple[Pool, ...]
    groups: Groups
    held: frozenset[str] = Field(default=frozenset(), description="hosts with noout")
    ours: frozenset[str] = Field(default=frozenset(), description="hosts for which `scs` set noout")
    fenced: dict[str, tuple[str, ...]] = Field(
        default={}, description="host that `scs` shut out: the addresses from which nothing is taken"
    )
    stop: dict[str, str] = Field(default_factory=dict, description="host: why its OSDs must not stop now")
    nearfull: float = room.NEARFULL
    fill: Fill | None = Field(default=None, description="how short of room it is; None: it has room")
    checks: dict[str, str] = Field(default_factory=dict, description="health check: its message")

    def of(self, host: str) -> tuple[Osd, ...]:
        """The OSDs of a host."""
        return tuple(o for o in self.osds if o.host == host)

    def cannot_leave(self, host: str) -> str:
        """Why a host cannot leave for good; '' if it can: its pools would lack failure domains, or there is no room."""
        gone = {o.id for o in self.of(host)}
        for pool in self.pools:
            for domain in pool.domains:
                left = self._domains(domain, gone)
                if left < domain.count:
                    return (
                        f"pool {pool.name} puts its data on {counted(domain.count, domain.type)}, and without {host} "
                        f"there would be {left}"
                    )
        there = [self._place(o) for o in self.osds if o.inside]
        loads = [p.load for p in self.pools]
        worst = room.fullest(there, loads, [p for p in there if p.osd not in gone], loads) if gone else None
        if worst and (why := worst.too_full(self.nearfull)):
            held = sum(p.used for p in there if p.osd in gone)
            return f"the {size(held)} on {host} find no room elsewhere: {why}"
        return ""

    def must_not_stop(self, host: str) -> str:
        """Why a host's OSDs must not stop now; '' if they may."""
        if full := room.refusal(self.fill):
            return f"{full}: what is deleted while they are away stays on them"
        return self.stop.get(host, "")

    def _place(self, osd: Osd) -> Place:
        """An OSD with the buckets that it is in."""
        above = {kind: name for name, (kind, osds) in self.buckets.items() if osd.id in osds and "~" not in name}
        return Place(
            osd=osd.id, size=osd.kb * 1024, used=osd.kb_used * 1024, device_class=osd.device_class, buckets=above
        )

    def _domains(self, domain: Domain, gone: Collection[int]) -> int:
        """How many buckets of a type are left that have an OSD."""
        below = self.buckets.get(domain.root, ("", frozenset[int]()))[1]
        kinds = {o.id for o in self.osds if not domain.device_class or o.device_class == domain.device_class}
        usable = (below & kinds) - set(gone)
        if domain.type == "osd":
            return len(usable)
        return sum(1 for kind, osds in self.buckets.values() if kind == domain.type and osds & usable)


class Monitor(Model):
    """A monitor's own view, which it has without a quorum, too."""

    name: str
    state: str
    quorum: tuple[str, ...]
    monitors: dict[str, str] = Field(description="name: address, as in its map")
    epoch: int = 0

    @property
    def serves(self) -> bool:
        """Whether it belongs to a quorum."""
        return self.state in SERVES


def parse_monitor(text: str) -> Monitor | None:
    """`ceph daemon mon.X mon_status`; None if the text is something else."""
    try:
        found = json.loads(text[text.index("{") :])
        mons = found["monmap"]["mons"]
        ranks = {m["rank"]: m["name"] for m in mons}
        return Monitor(
            name=found["name"], state=found["state"], quorum=tuple(ranks[r] for r in found["quorum"]),
            monitors={m["name"]: _address(m) for m in mons}, epoch=found["monmap"]["epoch"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        return None


def parse_monmap(text: str) -> tuple[dict[str, str], int]:
    """(monitors by name, epoch) of `monmaptool --print`."""
    epoch = re.search(r"^epoch (\d+)$", text, re.MULTILINE)
    monitors = re.findall(r"^\d+: \[?v[12]:(\S+?):\d+/\S* mon\.(\S+)$", text, re.MULTILINE)
    return {name: address.strip("[]") for address, name in monitors}, int(epoch[1]) if epoch else 0


def _address(monitor: Mapping[str, Any]) -> str:
    """Without port."""
    vector = monitor["public_addrs"]["addrvec"]
    return str(vector[0]["addr"]).rpartition(":")[0].strip("[]") if vector else ""


def parse(text: str) -> Ceph | None:
    """The output of `ceph_view.py`; None without a quorum."""
    try:
        found = json.loads(text[text.index("{") :])
        return None if "error" in found else _ceph(found)
    except (ValueError, KeyError, TypeError):
        return None


def _ceph(found: Mapping[str, Any]) -> Ceph:
    dump, quorum, mgr = found["osds"], found["quorum"], found["mgr"]
    nodes = {n["id"]: n for n in found["tree"]["nodes"]}
    checks = found["status"]["health"]["checks"]
    return Ceph(
        monitors=tuple(m["name"] for m in quorum["monmap"]["mons"]),
        quorum=tuple(quorum["quorum_names"]),
        leader=quorum["quorum_leader_name"],
        epoch=quorum["monmap"]["epoch"],
        manager=mgr["active_name"] if mgr.get("available") else "",
        standbys=tuple(s["name"] for s in mgr["standbys"]),
        osds=tuple(_osds(found, nodes)),
        buckets={n["name"]: (n["type"], frozenset(_below(n, nodes))) for n in nodes.values() if n["id"] < 0},
        pools=tuple(_pools(dump["pools"], found["rules"], _used(found.get("df", {})))),
        groups=groups(found["status"]["pgmap"]),
        held=frozenset(h for h, flags in dump["crush_node_flags"].items() if "noout" in flags),
        ours=frozenset(found["noout"]),
        # the program of an earlier version does not know of it
        fenced=found.get("fenced", {}),
        stop=found["stop"],
        nearfull=dump["nearfull_ratio"] or room.NEARFULL,
        fill=room.fill(found["status"]["health"], {n: dump.get(f"{n}_ratio", 0) for n in room.Level}),
        checks={name: check["summary"]["message"] for name, check in checks.items()},
    )


def _osds(found: Mapping[str, Any], nodes: Mapping[int, Mapping[str, Any]]) -> Iterable[Osd]:
    states = {o["osd"]: o for o in found["osds"]["osds"]}
    usage = {n["id"]: n for n in (found["usage"] or {"nodes": ()})["nodes"]}
    for host in nodes.values():
        if host["type"] != "host":
            continue
        for number in sorted(c for c in host.get("children", ()) if c in states):
            used, state = usage.get(number, {}), states[number]
            yield Osd(
                id=number, host=host["name"], device_class=nodes[number].get("device_class", ""), up=bool(state["up"]),
                inside=bool(state["in"]), kb=used.get("kb", 0), kb_used=used.get("kb_used", 0),
                groups=used.get("pgs", 0),
            )  # fmt: skip


def _below(node: Mapping[str, Any], nodes: Mapping[int, Mapping[str, Any]]) -> set[int]:
    own = {c for c in node.get("children", ()) if c >= 0}
    return own.union(*(_below(nodes[c], nodes) for c in node.get("children", ()) if c < 0 and c in nodes))


def _used(df: Mapping[str, Any]) -> dict[str, int]:
    """Pool: bytes on all disks together."""
    return {p["name"]: p.get("stats", {}).get("bytes_used", 0) for p in df.get("pools", ())}


def _pools(
    pools: Iterable[Mapping[str, Any]], rules: Iterable[Mapping[str, Any]], used: Mapping[str, int]
) -> Iterable[Pool]:
    steps = {r["rule_id"]: r["steps"] for r in rules}
    for pool in pools:
        name, copies = pool["pool_name"], pool["size"]
        domains = tuple(_domains(steps[pool["crush_rule"]], copies))
        yield Pool(name=name, size=copies, domains=domains, used=used.get(name, 0))


def _domains(steps: Iterable[Mapping[str, Any]], size: int) -> Iterable[Domain]:
    """What each choice of a rule needs. A choice of 0 is of as many as the pool has copies, a negative one of less."""
    root = device_class = ""
    for step in steps:
        if step["op"] == "take":
            root, _, device_class = step["item_name"].partition("~")
        elif step["op"].startswith("choose"):
            count = step["num"] if step["num"] > 0 else size + step["num"]
            yield Domain(root=root, device_class=device_class, type=step["type"], count=count)


def groups(pgmap: Mapping[str, Any]) -> Groups:
    """From `ceph status`."""
    lacking = {
        s["state_name"]: s["count"] for s in pgmap.get("pgs_by_state", ()) if LACKING & set(s["state_name"].split("+"))
    }
    return Groups(
        inactive=sum(n for state, n in lacking.items() if "active" not in state.split("+")),
        degraded=pgmap.get("degraded_objects", 0),
        misplaced=pgmap.get("misplaced_objects", 0),
        lacking=lacking,
        rate=pgmap.get("recovering_objects_per_sec", 0),
    )
