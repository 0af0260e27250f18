# SPDX-License-Identifier: Apache-2.0
"""The health of a region's Ceph, parsed from the answers of its monitors. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.shared.ceph import room
from scs_deploy.shared.ceph.observed import FENCED, fenced
from scs_deploy.shared.ceph.room import Fill
from scs_deploy.shared.ceph.words import MEANINGS

QUESTIONS: tuple[dict[str, Any], ...] = (
    {"prefix": "status"},
    {"prefix": "health", "detail": "detail"},
    {"prefix": "mon dump"},
    {"prefix": "mgr module ls"},
    {"prefix": "osd dump"},
    {"prefix": "config-key dump", "key": FENCED},
)
"""What `Status.parse` takes the answers of, in this order."""

WORDS = {"HEALTH_OK": "ok", "HEALTH_WARN": "warning", "HEALTH_ERR": "error"}

HARMLESS = re.compile(r"NOTIFY_TYPES|mgr_module")
"""In the errors of modules that are off: what Ceph's loader says of each, whether or not it works."""

EXPECTED = frozenset({
    "AUTH_INSECURE_CLIENT_KEY_TYPE", "AUTH_INSECURE_KEYS_ALLOWED", "AUTH_INSECURE_KEYS_CREATABLE",
})  # fmt: skip
"""Checks that follow from keys which the clients of Ceph 18.2 can use: the region is well with them."""

SLOW = frozenset({
    "BLUESTORE_SLOW_OP_ALERT", "DB_DEVICE_STALLED_READ_ALERT", "OSD_SLOW_PING_TIME_BACK", "OSD_SLOW_PING_TIME_FRONT",
})  # fmt: skip
"""Checks that tell of something slow in the last minutes: nothing is missing and nothing waits now."""

CLEAN = frozenset({"active", "clean", "scrubbing", "deep", "snaptrim", "snaptrim_wait"})
"""Parts of the states of placement groups that have all copies where they belong."""


class Check(Model):
    """A health check that is raised."""

    name: str
    severity: str = Field(description="warning or error")
    summary: str
    details: tuple[str, ...] = ()
    meaning: str = Field(default="", description="in words, with what to do")
    muted: bool = False

    @property
    def counts(self) -> bool:
        """Whether somebody has to look at it."""
        return not self.muted and self.name not in EXPECTED


class Progress(Model):
    """Something that the cluster is doing."""

    what: str
    percent: int


class Status(Model):
    """The health of a cluster."""

    health: str = Field(description="ok, warning or error, as Ceph says")
    checks: tuple[Check, ...] = ()
    monitors: tuple[str, ...] = Field(description="all of the monitors' map")
    quorum: tuple[str, ...]
    manager: bool = Field(description="whether one is active")
    standby_managers: int = 0
    osds: int = Field(description="number of them")
    up: int = Field(description="OSDs that run")
    inside: int = Field(description="OSDs that data is placed on")
    down: tuple[int, ...] = Field(default=(), description="OSDs that do not run")
    out: tuple[int, ...] = Field(default=(), description="OSDs that get no data")
    bytes_total: int = 0
    bytes_used: int = 0
    bytes_available: int = 0
    objects: int = 0
    pools: int = 0
    placement_groups: dict[str, int] = Field(default={}, description="state: their number")
    degraded: int = Field(default=0, description="copies of objects that are missing")
    misplaced: int = Field(default=0, description="copies of objects that are to move")
    unfound: int = Field(default=0, description="objects of which no copy is there")
    recovering_bytes: int = Field(default=0, description="per second")
    reads: int = Field(default=0, description="of clients, bytes per second")
    writes: int = Field(default=0, description="of clients, bytes per second")
    progress: tuple[Progress, ...] = ()
    flags: tuple[str, ...] = Field(default=(), description="noout and the like")
    fill: Fill | None = Field(default=None, description="how short of room it is; None: it has room")
    broken_modules: dict[str, str] = Field(default={}, description="module of the manager that cannot load: why")
    fenced: tuple[str, ...] = Field(default=(), description="evacuated hosts, whose clients are refused")

    @property
    def well(self) -> bool:
        """Whether nobody has to look at anything."""
        return not any(c.counts for c in self.checks)

    @property
    def slow(self) -> str:
        """What was slow in the last minutes; empty: nothing."""
        return "; ".join(c.summary for c in self.checks if c.name in SLOW and not c.muted)

    @property
    def refuses_writes(self) -> bool:
        """Whether no client can write."""
        return self.fill is not None and self.fill.refuses_writes

    @property
    def trouble(self) -> str:
        """What is wrong in one line, the worst first, without what was only slow; empty: nothing."""
        if self.fill:
            return self.fill.line
        counting = [c for c in self.checks if c.counts and c.name not in SLOW]
        if not counting:
            return ""
        more = f", and {len(counting) - 1} more" if len(counting) > 1 else ""
        return f"{counting[0].summary} ({counting[0].name}){more}: scs storage status"

    @property
    def unclean(self) -> int:
        """Placement groups that lack a copy, or have one that is to move."""
        return sum(n for state, n in self.placement_groups.items() if not set(state.split("+")) <= CLEAN)

    @classmethod
    def parse(cls, answers: Sequence[Any]) -> Status:
        """From the answers to `QUESTIONS`."""
        status, health, monitors, modules, osd, fences = answers
        groups, osds = status["pgmap"], osd["osds"]
        return cls(
            health=WORDS.get(health["status"], health["status"]),
            checks=_checks(health),
            monitors=tuple(m["name"] for m in monitors["mons"]),
            quorum=tuple(status["quorum_names"]),
            manager=bool(status["mgrmap"]["available"]),
            standby_managers=status["mgrmap"]["num_standbys"],
            osds=len(osds),
            up=sum(o["up"] for o in osds),
            inside=sum(o["in"] for o in osds),
            down=tuple(o["osd"] for o in osds if not o["up"]),
            out=tuple(o["osd"] for o in osds if not o["in"]),
            bytes_total=groups["bytes_total"],
            bytes_used=groups["bytes_used"],
            bytes_available=groups["bytes_avail"],
            objects=groups["num_objects"],
            pools=groups["num_pools"],
            placement_groups={s["state_name"]: s["count"] for s in groups["pgs_by_state"]},
            degraded=groups.get("degraded_objects", 0),
            misplaced=groups.get("misplaced_objects", 0),
            unfound=groups.get("unfound_objects", 0),
            recovering_bytes=groups.get("recovering_bytes_per_sec", 0),
            reads=groups.get("read_bytes_sec", 0),
            writes=groups.get("write_bytes_sec", 0),
            progress=_progress(status.get("progress_events", {})),
            flags=tuple(f for f in osd["flags_set"] if f.startswith("no") or f in ("pause", "full")),
            fill=room.fill(health, {n: osd.get(f"{n}_ratio", 0) for n in room.Level}),
            broken_modules=_broken(modules, health),
            fenced=fenced(fences),
        )


def _checks(health: Mapping[str, Any]) -> tuple[Check, ...]:
    found = [
        Check(
            name=name,
            severity=WORDS.get(c["severity"], c["severity"]),
            summary=c["summary"]["message"],
            details=tuple(d["message"] for d in c.get("detail", ())),
            meaning=MEANINGS.get(name, ""),
            muted=bool(c.get("muted")),
        )
        for name, c in health.get("checks", {}).items()
    ]
    return tuple(sorted(found, key=lambda c: (not c.counts, c.severity != "error", c.name)))


def _progress(events: Mapping[str, Any]) -> tuple[Progress, ...]:
    return tuple(Progress(what=e["message"], percent=int(100 * e["progress"])) for e in events.values())


def _broken(modules: Mapping[str, Any], health: Mapping[str, Any]) -> dict[str, str]:
    """Modules that cannot run, or failed."""
    found = {
        m["name"]: " ".join(m["error_string"].split())
        for m in modules["disabled_modules"]
        if not m["can_run"] and not HARMLESS.search(m["error_string"])
    }
    for name in ("MGR_MODULE_ERROR", "MGR_MODULE_DEPENDENCY"):
        for detail in health.get("checks", {}).get(name, {}).get("detail", ()):
            module = re.search(r"[Mm]odule '([^']+)'", detail["message"])
            found[module[1] if module else name] = detail["message"]
    return found
