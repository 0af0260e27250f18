# SPDX-License-Identifier: Apache-2.0
"""Real block devices under a real OSD: data, metadata and log each on one, found again, and refused to others.

Takes some minutes, scs/ceph and the kernel's loop devices.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.inventory.model import Disk
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_ceph import Ceph, cluster, soon
from tests.support.live_haproxy import docker

from tests.support.live_ceph import IMAGE  # isort: skip

HOST = "ha-1"
SIZES = {"fast": 3 << 30, "fast-db": 1 << 30, "fast-wal": 512 << 20, "used": 1 << 30}
"""Bytes of the devices; of those that are sparse, little is written."""

pytestmark = needs(IMAGE)


def losetup(*words: str) -> str:
    done = subprocess.run(["losetup", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"losetup: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Path of each device."""
    folder = tmp_path_factory.mktemp("devices")
    with ExitStack() as stack:
        found = {}
        for name, size in SIZES.items():
            file = folder / name
            with file.open("wb") as stream:
                stream.truncate(size)
            if name == "used":
                subprocess.run(["mke2fs", "-q", "-t", "ext4", str(file)], check=True)
            found[name] = losetup("--find", "--show", str(file))
            stack.callback(losetup, "--detach", found[name])
        yield found


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory, devices: dict[str, str]) -> Iterator[Ceph]:
    with cluster(dummy_region("testbed-ha"), tmp_path_factory.mktemp("ceph")) as found:
        yield found


@pytest.fixture(scope="module")
def osd(ceph: Ceph, devices: dict[str, str]) -> str:
    """The container of the OSD that has three devices."""
    (name,) = ceph.give(
        HOST,
        Disk(name="fast", device=devices["fast"], device_class="nvme", db="fast-db", wal="fast-wal"),
        Disk(name="fast-db", device=devices["fast-db"], role="db"),
        Disk(name="fast-wal", device=devices["fast-wal"], role="wal"),
    )
    ceph.add(HOST, name)
    soon(lambda: ceph.healthy(HOST, name))
    return name


def number(ceph: Ceph, osd: str) -> int:
    """Of the OSD in a container."""
    folders = ceph.inside(HOST, osd, "sh", "-c", "ls -d /var/lib/ceph/osd/ceph-*")[1]
    return int(folders.rpartition("-")[2])


def metadata(ceph: Ceph, osd: str) -> dict[str, Any]:
    """What an OSD says of itself."""
    found: dict[str, Any] = ceph.json("osd", "metadata", str(number(ceph, osd)))
    return found


def test_metadata_and_log_are_on_devices_of_their_own(ceph: Ceph, devices: dict[str, str], osd: str) -> None:
    found = metadata(ceph, osd)
    assert (found["bluefs_dedicated_db"], found["bluefs_dedicated_wal"]) == ("1", "1")
    names = {part: found[f"{part}_devices"] for part in ("bluestore_bdev", "bluefs_db", "bluefs_wal")}
    assert names == {
        "bluestore_bdev": Path(devices["fast"]).name,
        "bluefs_db": Path(devices["fast-db"]).name,
        "bluefs_wal": Path(devices["fast-wal"]).name,
    }
    assert int(found["bluefs_db_size"]) == SIZES["fast-db"]
    classes = {o["id"]: o.get("device_class") for o in ceph.json("osd", "tree")["nodes"] if o["type"] == "osd"}
    assert classes[number(ceph, osd)] == "nvme"


def test_the_osd_is_found_on_its_devices_when_its_host_is_new(ceph: Ceph, osd: str) -> None:
    before = number(ceph, osd), metadata(ceph, osd)["osd_objectstore"]
    fsid = ceph.json("osd", "dump")["osds"]
    ceph.stop(HOST, osd)
    docker("rm", ceph.container(HOST, osd))
    ceph.lose(HOST, osd)
    ceph.add(HOST, osd)
    soon(lambda: ceph.healthy(HOST, osd))
    assert (number(ceph, osd), metadata(ceph, osd)["osd_objectstore"]) == before
    assert {o["osd"]: o["uuid"] for o in ceph.json("osd", "dump")["osds"]} == {o["osd"]: o["uuid"] for o in fsid}
    assert metadata(ceph, osd)["bluefs_dedicated_db"] == "1"


@pytest.mark.parametrize(
    ("data", "metadata_on", "named"),
    [("used", None, "used"), ("used", "fast-db", "used"), ("fast-wal", None, "fast-wal")],
    ids=["a file system", "a file system, with the metadata of another OSD", "the log of another OSD"],
)
def test_a_device_that_holds_something_is_left_as_it_is(
    data: str, metadata_on: str | None, named: str, ceph: Ceph, devices: dict[str, str], osd: str
) -> None:
    assert ceph.healthy(HOST, osd)
    before = Path(devices[named]).read_bytes()[: 1 << 20] if named == "used" else b""
    name = f"ceph_osd_bad-{data}-{metadata_on or 'alone'}"
    disk = Disk(name=name.removeprefix("ceph_osd_"), device=devices[data], db=metadata_on)
    assert ceph.give(HOST, disk) == [name]
    code, said = ceph.one_shot(HOST, name, "/etc/ceph/start_osd.py", check=False)
    assert code == 1
    assert said.strip().startswith(f"disk {disk.name}: {devices[named]} holds ")
    assert "erase it" in said
    assert before == (Path(devices[named]).read_bytes()[: 1 << 20] if named == "used" else b"")
    assert ceph.healthy(HOST, osd)


def test_a_device_for_metadata_that_holds_something_is_refused(ceph: Ceph, devices: dict[str, str], osd: str) -> None:
    with ExitStack() as stack:
        blank = ceph.folder / "blank"
        with blank.open("wb") as stream:
            stream.truncate(1 << 30)
        device = losetup("--find", "--show", str(blank))
        stack.callback(losetup, "--detach", device)
        (name,) = ceph.give(HOST, Disk(name="blank", device=device, db="fast-db"))
        code, said = ceph.one_shot(HOST, name, "/etc/ceph/start_osd.py", check=False)
        assert (code, f"disk blank: {devices['fast-db']} holds a BlueStore" in said) == (1, True), said
        assert not any(Path(device).read_bytes()[: 1 << 20])
    assert json.loads(ceph.ceph("osd", "stat", "--format=json"))["num_up_osds"] == 4
