# SPDX-License-Identifier: Apache-2.0
"""Which images move into Ceph, in which order, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.operations.storage.images_plan import Facts, ImagesPlan, decide
from scs_deploy.shared.ceph.disks import Osd
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.room import Fill, Level
from scs_deploy.shared.glance import Image

POOLS = Path(__file__).parents[2] / "shared" / "recorded_ceph" / "pools.json"
GIB = 1 << 30


def image(key: str, *stores: str, size: int = 1, **more: Any) -> Image:
    """:param size: GiB"""
    values = {"name": f"name-{key}", "status": "active", "algorithm": "sha512", "digest": "d1", **more}
    return Image(id=key, size=size * GIB, stores=stores, **values)


def cluster(available: int = 1000, used: int = 10, quota: int = 0) -> Observed:
    """Five disks of 100 GiB, of which some GiB are used; all figures in GiB."""
    found = Observed.parse(json.loads(POOLS.read_text(encoding="utf-8")))
    pool = found.pools["images"].model_copy(
        update={"available": available * GIB, "used": 5 * used * GIB, "stored": 5 * used * GIB // 3,
                "max_bytes": quota * GIB}
    )  # fmt: skip
    osds = tuple(
        Osd(number=n, host=f"h{n}", device_class="hdd", up=True, inside=True, size=100 * GIB, used=used * GIB)
        for n in range(5)
    )
    return found.model_copy(update={"pools": {**found.pools, "images": pool}, "osds": osds})


def plan(*images: Image, chosen: tuple[str, ...] = (), seen: Observed | None = None, **more: Any) -> ImagesPlan:
    values = {"stores": frozenset({"file", "rbd"}), "methods": frozenset({"copy-image"}), **more}
    return decide(Facts(images=images, cluster=seen or cluster(), **values), chosen)


def test_what_is_copied_already_is_checked_first_and_what_waits_comes_last() -> None:
    made = plan(
        image("a", "file", size=3), image("b", "file", importing=("rbd",)), image("c", "rbd"),
        image("d", "file", "rbd", size=9), image("e", "file", size=2), image("f", status="queued"),
    )  # fmt: skip
    assert [(m.image.id, m.todo) for m in made.moves] == [
        ("d", "check"), ("e", "copy"), ("a", "copy"), ("b", "wait"),
    ]  # fmt: skip
    assert (made.done, made.bytes, made.refusals) == (1, 6 * GIB, ())


def test_nothing_is_left_to_do() -> None:
    made = plan(image("a", "rbd"), image("b", "rbd"))
    assert (made.moves, made.stays, made.done, made.refusals) == ((), (), 2, ())


def test_single_images_by_id_or_name() -> None:
    images = (image("a", "file"), image("b", "file"), image("c", "rbd"))
    assert [m.image.id for m in plan(*images, chosen=("name-b",)).moves] == ["b"]
    assert [m.image.id for m in plan(*images, chosen=("a",)).moves] == ["a"]
    assert plan(*images, chosen=("c",)).done == 1
    assert plan(*images, chosen=("x",)).refusals == ("no image 'x'",)
    twins = (image("a", "file", name="debian"), image("b", "file", name="debian"))
    assert plan(*twins, chosen=("debian",)).refusals == ("2 images are named 'debian': give the id, a, b",)


@pytest.mark.parametrize(
    ("stuck", "reason"),
    [
        (image("a", "file", digest=""), "no checksum"),
        (image("a", "file", status="deactivated"), "copies active images only"),
        (image("a", "file", "rbd", status="deactivated"), "removes files of active images only"),
    ],
)
def test_what_cannot_be_moved_is_named_and_the_others_are(stuck: Image, reason: str) -> None:
    made = plan(stuck, image("b", "file"))
    assert reason in made.stays[0].reason
    assert [m.image.id for m in made.moves] == ["b"]


def test_glance_must_be_prepared() -> None:
    assert plan(image("a", "file"), stores=frozenset({"file"})).refusals == (
        "Glance has no store rbd yet: scs apply glance",
    )
    refused = plan(image("a", "file"), methods=frozenset({"web-download"})).refusals
    assert "add it to glance_import_methods" in refused[0]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (cluster(available=30), "the images need 40.0 GiB, and pool images has room for 30.0 GiB"),
        (cluster(used=60, quota=130), "the images need 40.0 GiB, and the quota of pool images leaves 30.0 GiB"),
        # 3 copies of 40 GiB are 24 GiB on each of five disks
        (cluster(used=60), "the images need 40.0 GiB: osd.0 would be 84 % full, more than nearfull (80 %)"),
        (
            cluster().model_copy(update={"fill": Fill(level=Level.FULL, summary="1 full osd(s)")}),
            "full: 1 full osd(s): Ceph refuses writes",
        ),
    ],
)
def test_images_that_find_no_room_are_refused_with_the_figures(seen: Observed, said: str) -> None:
    images = (image("a", "file", size=15), image("b", "file", size=25), image("c", "file", "rbd", size=500))
    assert plan(*images, seen=seen).refusals[0].startswith(said)


def test_images_that_find_room() -> None:
    assert plan(image("a", "file", size=15), image("b", "file", size=15), seen=cluster(used=60)).refusals == ()
    assert plan(image("c", "file", "rbd", size=500), seen=cluster(available=1)).refusals == (), "it is there already"
