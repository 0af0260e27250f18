#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whether Ceph can do without this OSD: prints why not, and exits 1; or what it waits for, and exits 75.

First every placement group has all its copies again, whatever was restarted before this one. That takes as long as it
takes: what is left is printed first, in numbers, and whoever asks goes on as long as they become less. Data that only
moves, e.g. to a new host, has all its copies meanwhile. Then `ceph osd ok-to-stop` must agree, which an OSD's own key
may not ask for: client.osd_gate may, and nothing else.

While an OSD is over the full ratio, none stops: clients may still delete, and what they delete while an OSD is away
stays on it, because an OSD that is full recovers nothing (recovery_toofull, seen with 20.2). Over the lower ratios
copies catch up as always; only a copy of a disk that does not come back finds no room, restarted or not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ceph_ask import AskError, Ceph
from ceph_settings import OSD_DATA, osd_id
from ceph_socket import SilentError, ask

WAITING = 75
SETTLE = 10
"""Seconds in which placement groups tell how they are after an OSD of theirs was down."""
LACKING = (
    "activating", "creating", "degraded", "down", "failed_repair", "incomplete", "inconsistent", "peered", "peering",
    "recovery_toofull", "recovery_unfound", "stale", "undersized", "unknown",
)  # fmt: skip
"""States of a placement group that serves nobody, or that has fewer copies than it should."""
FULL = "OSD_FULL"
"""Health check while an OSD is over the full ratio."""


def decide(status: Mapping[str, Any]) -> tuple[int, str]:
    """Exit code, and why not, by the status of the cluster."""
    checks = status["health"]["checks"]
    if FULL in checks:
        return 1, f"{checks[FULL]['summary']['message']}: an OSD that was away could not catch up; make room first"
    numbers, text = left(status["pgmap"])
    return (WAITING, f"{' '.join(map(str, numbers))}: {text}") if text else (0, "")


def left(groups: Mapping[str, Any]) -> tuple[tuple[int, int, int], str]:
    """What is left until every placement group has all its copies: groups that serve nobody, objects that lack a copy,
    groups that lack one; and the same in words, empty if nothing is left."""
    lacking = {
        s["state_name"]: s["count"]
        for s in groups.get("pgs_by_state", ())
        if set(LACKING) & set(s["state_name"].split("+"))
    }
    inactive = sum(n for name, n in lacking.items() if "active" not in name.split("+"))
    objects = groups.get("degraded_objects", 0)
    words = ", ".join(f"{n} placement groups are {name}" for name, n in sorted(lacking.items()))
    if words and objects:
        words += f"; {objects} objects lack a copy"
    return (inactive, objects, sum(lacking.values())), words


def restarted(osds: Iterable[Mapping[str, Any]], now: datetime) -> str:
    """Which OSD was down so recently that its placement groups may not have told yet; empty: none."""
    for osd in osds:
        down = str(osd.get("down_stamp", "0"))
        if not down.startswith("0") and 0 <= (now - datetime.fromisoformat(down)).total_seconds() < SETTLE:
            return f"osd.{osd['osd']} was down a moment ago"
    return ""


def serves(osd: int) -> bool:
    """Whether it takes part, as it says over its socket; one that does not tell may."""
    try:
        return bool(ask(f"osd.{osd}", "status").get("state") == "active")
    except SilentError:
        return True


def question(ceph: Ceph, osd: int) -> tuple[bool, int, str]:
    """Whether the OSD is up; exit code, and why not, by what the monitors say."""
    dump = ceph.monitors("osd dump")
    if not any(o["osd"] == osd and o["up"] for o in dump["osds"]):
        # it hangs, and the others go on without it
        return False, 0, ""
    if why := restarted(dump.get("osd_xinfo", ()), datetime.now(UTC)):
        return True, 1, why
    return True, *decide(ceph.monitors("status"))


def agree(osd: int) -> str:
    """Why the manager does not agree that this OSD stops; empty: it does."""
    try:
        with Ceph("client.osd_gate") as ceph:
            ceph.manager("osd ok-to-stop", ids=[str(osd)])
    except AskError as error:
        return str(error)
    return ""


def main() -> tuple[int, str]:
    """Exit code, and why not."""
    osd = osd_id()
    if osd is None or not serves(osd):
        return 0, ""
    try:
        with Ceph(f"osd.{osd}", str(OSD_DATA / f"ceph-{osd}" / "keyring")) as ceph:
            up, code, reason = question(ceph, osd)
    except AskError as error:
        return 1, str(error)
    if up and not code and (reason := agree(osd)):
        return 1, reason
    return code, reason


if __name__ == "__main__":
    code, reason = main()
    print(reason)
    sys.exit(code)
