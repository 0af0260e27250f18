# SPDX-License-Identifier: Apache-2.0
"""What a real cluster of Ceph 20.2 answered when it was full, and when an OSD was down, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.cli.storage import lines
from scs_deploy.shared.ceph import disks
from scs_deploy.shared.ceph.disks import Place
from scs_deploy.shared.ceph.room import fill
from scs_deploy.shared.ceph.status import Check, Status

FOLDER = Path(__file__).parent / "recorded_ceph"


def recorded(name: str) -> Any:
    return json.loads((FOLDER / f"status_{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def full() -> Status:
    return Status.parse(recorded("full")["status"])


@pytest.fixture
def down() -> Status:
    return Status.parse(recorded("down")["status"])


def test_a_full_cluster_is_said_to_refuse_writes(full: Status) -> None:
    said = (
        "full: osd.0, osd.1, osd.2 are full: Ceph refuses writes, and loses none; add disks, or raise `ratios` "
        "a little and delete data: docs/how-to/storage.md#a-full-cluster"
    )
    assert full.trouble == said
    assert list(lines(full))[:2] == ["[bold red]error[/]", f"[bold red]{said}[/]"]
    assert full.refuses_writes


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        # the summaries are those of Ceph 20.2, in answers without details
        ("OSD_NEARFULL", "nearfull: 1 nearfull osd(s): writes go on; add disks or delete data before they are refused"),
        ("OSD_BACKFILLFULL", "backfillfull: 3 backfillfull osd(s): copies of a lost disk find no room"),
        ("OSD_FULL", "full: 1 full osd(s): Ceph refuses writes, and loses none"),
    ],
)
def test_each_level_says_what_is_refused_and_what_to_do(check: str, expected: str) -> None:
    number = 3 if check == "OSD_BACKFILLFULL" else 1
    message = f"{number} {check.removeprefix('OSD_').lower()} osd(s)"
    found = fill({"checks": {check: {"summary": {"message": message}}, "POOL_NEARFULL": {}}}, {})
    assert found
    assert found.line.startswith(expected)
    assert "docs/how-to/storage.md#a-full-cluster" in found.line


def test_the_worst_level_counts_and_disks_are_named() -> None:
    checks = {
        level: {"summary": {"message": "x"}, "detail": [{"message": f"osd.{n} is {level}"} for n in osds]}
        for level, osds in (("OSD_NEARFULL", [0]), ("OSD_BACKFILLFULL", [3, 4, 5, 6, 7, 8, 9]))
    }
    found = fill({"checks": checks}, {"backfillfull": 0.9})
    assert found
    assert found.which == "osd.3, osd.4, osd.5, osd.6, osd.7 and 2 more are over 90 %"
    assert (found.refuses_writes, found.refuses_moves) == (False, True)


def test_an_osd_that_is_down(down: Status) -> None:
    assert (down.osds, down.up, down.inside, down.down) == (3, 2, 3, (2,))
    assert down.unclean == 44
    assert down.degraded > 0
    text = "\n".join(lines(down))
    assert "OSDs: 2 of 3 up, 3 in, [red]down: 2[/]" in text
    assert "its data is served by other copies" in text
    assert down.fill is None


def test_what_was_slow_is_told_and_no_trouble(down: Status) -> None:
    slow = Check(name="BLUESTORE_SLOW_OP_ALERT", severity="warning", summary="1 OSD(s) slow", meaning="look")
    found = down.model_copy(update={"checks": (slow,)})
    assert (found.trouble, found.slow) == ("", "1 OSD(s) slow")
    assert "1 OSD(s) slow" in "\n".join(lines(found))
    waits = slow.model_copy(update={"name": "SLOW_OPS", "summary": "2 slow ops"})
    assert "2 slow ops" in down.model_copy(update={"checks": (slow, waits)}).trouble


def test_an_evacuated_host_is_known_to_ceph(full: Status, down: Status) -> None:
    assert (full.fenced, down.fenced) == ((), ("ha-3",))


def test_keys_that_openstack_can_use_are_no_problem(down: Status) -> None:
    check = next(c for c in down.checks if c.name == "AUTH_INSECURE_CLIENT_KEY_TYPE")
    assert not check.counts
    assert down.checks[-1] == check
    well = down.model_copy(update={"checks": (check,)})
    assert well.well
    assert well.trouble == ""
    assert next(iter(lines(well))) == "[green]well[/]"


def test_only_modules_that_cannot_be_used_are_named(down: Status) -> None:
    assert down.broken_modules == {"influx": "influxdb python module not found"}


def test_a_failed_module_is_named() -> None:
    answers = recorded("down")["status"]
    said = "Module 'devicehealth' has failed: disk I/O error"
    answers[1]["checks"]["MGR_MODULE_ERROR"] = {
        "severity": "HEALTH_ERR", "summary": {"message": said}, "detail": [{"message": said}], "muted": False,
    }  # fmt: skip
    found = Status.parse(answers)
    assert "disk I/O error" in found.broken_modules["devicehealth"]
    assert "devicehealth" in "\n".join(lines(found))


def test_disks_and_their_osds() -> None:
    found = disks.osds(recorded("down")["disks"])
    places = [
        Place(host="h0", disk="a", path="/dev/a", container="ceph_osd_a", osd=0),
        Place(host="h1", disk="a", path="/dev/a", container="ceph_osd_a"),
        Place(host="h1", disk="b", path="/dev/b", container="ceph_osd_b"),
        Place(host="h2", disk="a", path="/dev/a", container="ceph_osd_a"),
        Place(host="h2", disk="b", path="/dev/b", container="ceph_osd_b", osd=7),
    ]
    rows = [(d.host, d.disk, d.osd, d.state) for d in disks.table(places, found)]
    assert rows == [
        ("h0", "a", 0, "in use"),
        ("h1", "a", None, "no OSD"),
        ("h1", "b", None, "no OSD"),
        ("h1", "", 1, "in use"),
        ("h2", "a", 2, "down"),
        ("h2", "b", 7, "removed from the cluster"),
    ]
