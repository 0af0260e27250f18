# SPDX-License-Identifier: Apache-2.0
"""What the gates of Ceph's containers say. Answers are those of a real cluster of version 20.2."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

# librados is in the image only
sys.modules.setdefault("rados", ModuleType("rados"))

import ceph_view  # noqa: E402
import mgr_leave  # noqa: E402
import mon_gate  # noqa: E402
import osd_gate  # noqa: E402


def status(states: dict[str, int], checks: dict[str, str] | None = None, **groups: int) -> dict[str, Any]:
    found = {name: {"summary": {"message": text}} for name, text in (checks or {}).items()}
    by_state = [{"state_name": name, "count": count} for name, count in states.items()]
    return {"health": {"checks": found}, "pgmap": {"pgs_by_state": by_state, **groups}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (status({"active+clean": 33}), (0, "")),
        (status({"active+clean": 30, "active+clean+scrubbing+deep": 3}), (0, "")),
        # all copies are there, and some move to a new host
        (status({"active+clean": 30, "active+remapped+backfilling": 3}, misplaced_objects=90), (0, "")),
        (
            status({"active+undersized+degraded": 9, "active+undersized": 24}, degraded_objects=842),
            (75, "0 842 33: 24 placement groups are active+undersized, 9 placement groups are "
                 "active+undersized+degraded; 842 objects lack a copy"),
        ),
        (status({"active+clean": 1, "peering": 2}), (75, "2 0 2: 2 placement groups are peering")),
        # what is deleted meanwhile would stay on the one that is away
        (
            status({"active+clean": 33}, {"OSD_FULL": "1 full osd(s)", "OSD_NEARFULL": "2 nearfull osd(s)"}),
            (1, "1 full osd(s): an OSD that was away could not catch up; make room first"),
        ),
        # copies catch up, and a quota says nothing about disks
        (status({"active+clean": 33}, {"OSD_BACKFILLFULL": "3 backfillfull osd(s)"}), (0, "")),
        (status({"active+clean": 33}, {"POOL_FULL": "1 pool(s) full"}), (0, "")),
    ],
)  # fmt: skip
def test_an_osd_waits_for_missing_copies(found: dict[str, Any], expected: tuple[int, str]) -> None:
    assert osd_gate.decide(found) == expected


def test_what_was_down_a_moment_ago_may_not_have_told_yet() -> None:
    osds = [{"osd": 0, "down_stamp": "0.000000"}, {"osd": 2, "down_stamp": "2026-11-30T01:52:10.812345+0000"}]
    at = datetime(2026, 11, 30, 1, 52, tzinfo=UTC)
    assert osd_gate.restarted(osds, at.replace(second=15)) == "osd.2 was down a moment ago"
    assert osd_gate.restarted(osds, at.replace(second=25)) == ""


MONS = {
    name: {"name": name, "public_addrs": {"addrvec": [{"type": "v2", "addr": f"10.0.0.{n}:3300", "nonce": 0}]}}
    for n, name in enumerate("abc", 1)
}


@pytest.mark.parametrize(
    ("state", "others", "refused", "expected"),
    [
        ("peon", ["b", "c"], "", ""),
        ("leader", ["b", "c"], "not enough monitors", "not enough monitors"),
        ("leader", ["b", "c"], None, "no quorum answers at b, c"),
        # in no quorum: it serves nobody
        ("probing", ["b", "c"], None, ""),
        # the only one
        ("leader", [], None, ""),
        # it hangs, and the others go on without it, or need it
        (None, ["b", "c"], "", ""),
        (None, ["b", "c"], None, "no quorum answers at b, c"),
    ],
)  # fmt: skip
def test_the_others_decide_on_a_monitor(
    state: str | None, others: list[str], refused: str | None, expected: str
) -> None:
    assert mon_gate.decide(state and {"state": state}, others, (), refused) == expected  # type: ignore[arg-type]


def test_a_monitor_that_ended_counts_before_the_quorum_knows() -> None:
    own = {"state": "leader"}
    assert mon_gate.decide(own, ["b", "c"], ["c"], "") == (
        "no answer from c: 2 of 3 monitors must work without this one"
    )
    assert mon_gate.decide(own, ["b", "c", "d", "e"], ["c"], "") == ""


def test_the_others_are_those_of_the_map() -> None:
    """A monitor of a host that is not in the inventory any more counts, too."""
    own = {"state": "leader", "monmap": {"mons": list(MONS.values())}}
    configured = {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert mon_gate.monitors(own, "a", configured) == {"b": "[v2:10.0.0.2:3300]", "c": "[v2:10.0.0.3:3300]"}
    assert mon_gate.monitors(None, "a", configured) == {"b": "[v2:10.0.0.2:3300]"}


def test_only_an_active_manager_with_a_standby_hands_over() -> None:
    assert mgr_leave.leads({"active_name": "a", "standbys": [{"name": "b"}]}, "a")
    assert not mgr_leave.leads({"active_name": "a", "standbys": []}, "a")
    assert not mgr_leave.leads({"active_name": "b", "standbys": [{"name": "a"}]}, "a")


def test_only_what_is_of_use_is_passed_on() -> None:
    answer = {"a": 1, "b": [{"c": 2, "d": 3}], "e": {"f": 4}}
    assert ceph_view.part(answer, {"a": None, "b": [{"c": None}], "z": None}) == {"a": 1, "b": [{"c": 2}]}
