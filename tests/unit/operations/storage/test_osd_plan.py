# SPDX-License-Identifier: Apache-2.0
"""Disks that are added, replaced and removed: which steps, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scs_deploy.operations.storage.osd_plan import Facts, Verb, decide
from scs_deploy.shared.ceph import disks
from scs_deploy.shared.ceph.disks import Disk, Place
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.status import Status

FOLDER = Path(__file__).parents[2] / "shared" / "recorded_ceph"


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def facts(state: str, disk: str, spare: int = 0, **update: Any) -> Facts:
    """Of one of three disks of a recorded cluster.

    :param spare: further disks that work
    """
    recorded = load(f"status_{state}")
    found = disks.osds(recorded["disks"])
    places = [Place(host=f"h{n}", disk=f"d{n}", path=f"/dev/d{n}", container=f"ceph_osd_d{n}", osd=n) for n in range(3)]
    table = disks.table(places, found)
    more = tuple(
        Disk(host=f"h{n}", disk=f"d{n}", osd=n, state="in use", device_class="hdd", size=2**32)
        for n in range(3, 3 + spare)
    )
    health = Status.parse(recorded["status"]).model_copy(update=update)
    row = next(d for d in table if d.disk == disk)
    return Facts(disk=row, table=(*table, *more), health=health, pools=Observed.parse(load("pools")), stops=True)


def well(disk: str, spare: int = 0) -> Facts:
    """As above, of a cluster in which nothing is wrong."""
    return facts("full", disk, spare, checks=(), fill=None)


def steps(verb: Verb, known: Facts, erase: bool = False) -> list[str]:
    return [s.key for s in decide(verb, known.disk.host, known.disk.disk, erase, known).steps]


def refusals(verb: Verb, known: Facts) -> str:
    return "; ".join(decide(verb, known.disk.host, known.disk.disk, False, known).refusals)


def test_a_failed_disk_is_replaced_while_others_have_its_data() -> None:
    assert steps("replace", facts("down", "d2")) == ["stop", "drop", "create", "fill"]


def test_the_same_disk_is_erased_first() -> None:
    assert steps("replace", facts("down", "d2"), erase=True) == ["stop", "drop", "erase", "create", "fill"]


def test_a_disk_that_works_is_emptied_first_if_there_is_room() -> None:
    assert steps("replace", well("d1", spare=1)) == ["empty", "stop", "drop", "create", "fill"]


def test_a_disk_that_works_is_replaced_without_spare_ones_if_all_copies_are_there() -> None:
    plan = decide("replace", "h1", "d1", False, well("d1"))
    assert [s.key for s in plan.steps] == ["stop", "drop", "create", "fill"]
    assert "its data has one copy less" in plan.notes[0]


def test_a_second_disk_stays_while_copies_are_missing() -> None:
    assert "44 placement groups lack copies already" in refusals("replace", facts("down", "d1"))


def test_data_that_may_only_be_on_the_failed_disk_is_not_given_up() -> None:
    lost = facts("down", "d2", placement_groups={"down": 3, "active+clean": 41})
    assert refusals("replace", lost) == "data of 3 placement groups is not there; osd.2 may have it"
    assert "7 objects are on no disk that is there" in refusals("replace", facts("down", "d2", unfound=7))


def test_an_interrupted_replacement_goes_on() -> None:
    known = well("d1", spare=1)
    row = known.disk.model_copy(update={"state": disks.REMOVED})
    assert steps("replace", known.model_copy(update={"disk": row})) == ["stop", "drop", "create", "fill"]


def test_too_few_disks_would_remain() -> None:
    found = refusals("remove", well("d1"))
    assert "keeps 3 copies or parts, and only 2 osds would remain" in found


def test_a_disk_leaves_after_its_data() -> None:
    plan = decide("remove", "h1", "d1", False, well("d1", spare=1))
    assert [s.key for s in plan.steps] == ["empty", "stop", "drop"]
    assert "remove d1 from the disks of h1" in plan.notes[0]


def test_a_full_cluster_loses_no_disk() -> None:
    found = refusals("remove", facts("full", "d1", spare=1))
    assert "data that moves finds no room: osd.0, osd.1, osd.2 are full" in found


def filled(share: float, spare: int = 1) -> Facts:
    """A cluster in which nothing is wrong, whose disks are so full."""
    known = well("d1", spare)
    table = tuple(d.model_copy(update={"used": int(d.size * share)}) for d in known.table)
    return known.model_copy(update={"table": table, "disk": next(d for d in table if d.disk == "d1")})


def test_a_disk_whose_data_finds_no_room_stays_and_the_figure_is_named() -> None:
    assert refusals("remove", filled(0.55)) == ""
    assert refusals("remove", filled(0.65)) == (
        "the 2.6 GiB on osd.1 find no room elsewhere: osd.0 would be 86.7 % full, more than nearfull (80 %)"
    )


def test_a_removal_that_was_interrupted_is_not_counted_twice() -> None:
    """The data of a disk that is out is elsewhere by now, or on its way there."""
    known = filled(0.7)
    row = known.disk.model_copy(update={"state": "empties"})
    table = tuple(row if d.disk == "d1" else d for d in known.table)
    assert refusals("remove", known.model_copy(update={"disk": row, "table": table})) == ""


def test_a_failed_disk_of_a_full_cluster_is_replaced() -> None:
    """That is a way out, and takes no room."""
    known = facts("full", "d1")
    row = known.disk.model_copy(update={"state": "down"})
    assert steps("replace", known.model_copy(update={"disk": row})) == ["stop", "drop", "create", "fill"]


def test_a_disk_of_a_full_cluster_that_works_is_not_taken_away_first() -> None:
    assert "copies on osd.1 cannot be made anew before there is room" in refusals("replace", facts("full", "d1"))


def test_a_disk_that_is_in_use_needs_no_adding() -> None:
    assert steps("add", well("d1")) == []
    new = well("d1")
    empty = new.model_copy(update={"disk": Disk(host="h1", disk="x", path="/dev/x", state="no OSD")})
    assert steps("add", empty) == ["create", "fill"]
    assert steps("add", empty, erase=True) == ["erase", "create", "fill"]
