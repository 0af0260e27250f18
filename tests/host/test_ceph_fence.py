# SPDX-License-Identifier: Apache-2.0
"""A real Ceph cluster of three hosts: one is shut out, and lets in again, while a client there has a disk open.

Takes some minutes and scs/ceph. The tests use one cluster, one after the other; each leaves nobody shut out.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scs_deploy.clusters.base import Seen
from scs_deploy.clusters.ceph import fence
from scs_deploy.clusters.ceph.driver import Driver
from scs_deploy.shared.ceph.observed import FENCED
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_ceph import HOSTS, IMAGE, Ceph, LiveAccess, cluster, driver_of, soon
from tests.support.live_haproxy import docker

OSD, MON = "ceph_osd_a", "ceph_mon"
DISK = "vms/0b5c9a34-guest_disk"
WRITER = """
import rados, rbd, sys, time
with rados.Rados(conffile="/etc/ceph/ceph.conf", name="client.admin") as cluster:
    with cluster.open_ioctx("vms") as pool, rbd.Image(pool, sys.argv[1]) as image:
        number = 0
        while True:
            number += 1
            try:
                image.write(b"%015d\\n" % number, 0)
                image.flush()
            except Exception as error:
                print("refused", type(error).__name__, flush=True)
            else:
                print("wrote", number, flush=True)
            time.sleep(0.1)
"""
"""A guest that writes to its disk, as QEMU does: with the lock of the image."""
COMPUTE = """
import sys, types
from pathlib import Path
for name in ("nova", "nova.cmd", "nova.cmd.compute", "libvirt"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["nova.cmd"].compute = sys.modules["nova.cmd.compute"]
program = types.ModuleType("start_compute")
exec(sys.argv[1], program.__dict__)
Path("/run/ceph/nova.conf").write_text("[libvirt]\\nrbd_user = admin\\n")
print("fenced:", program.fenced(Path("/run/ceph/nova.conf")))
"""
"""What nova-compute finds at its start."""
SERVICES = Path(__file__).parents[2] / "collections/ansible_collections/scs/openstack/services"

pytestmark = needs(IMAGE)


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with cluster(dummy_region("testbed-ha"), tmp_path_factory.mktemp("ceph")) as found:
        found.ceph("osd", "pool", "create", "vms", "16")
        found.ceph("osd", "pool", "application", "enable", "vms", "rbd")
        soon(found.up)
        assert found.inside("ha-1", MON, "rbd", "create", "--size=64M", DISK)[0] == 0
        yield found


@pytest.fixture
def access(ceph: Ceph) -> LiveAccess:
    return LiveAccess(ceph)


@pytest.fixture(scope="module")
def driver(ceph: Ceph) -> Driver:
    return driver_of(ceph)


@pytest.fixture
def writer(ceph: Ceph) -> Iterator[str]:
    """A client on ha-3 that writes; its container."""
    name = f"{ceph.name}-writer"
    command = ceph.beside("ha-3", MON, ("python3", "-c", WRITER, DISK.partition("/")[2]))
    position = command.index("--interactive")
    subprocess.run(
        [*command[:2], "--detach", f"--name={name}", *command[3:position], *command[position + 1 :]],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        soon(lambda: "wrote" in last(name))
        yield name
    finally:
        docker("rm", "--force", name)


def last(container: str) -> str:
    done = subprocess.run(["docker", "logs", "--tail=1", container], capture_output=True, text=True, check=True)
    return done.stdout


def seen(driver: Driver, access: LiveAccess) -> Seen:
    asked = {h: driver.questions(h) for h in HOSTS}
    said = access.run({h: list(q.values()) for h, q in asked.items()}).by_host
    return driver.parse({h: dict(zip(asked[h], own, strict=True)) for h, own in said.items()})


def writes(ceph: Ceph, host: str) -> bool:
    """A new client there can write."""
    put = "echo x | timeout 30 rados -p vms put from-{0} -"
    return ceph.inside(host, MON, "sh", "-ec", put.format(host))[0] == 0


def starts(ceph: Ceph, host: str) -> str:
    """Why nova-compute does not start there."""
    code, said = ceph.inside(
        host, MON, "python3", "-c", COMPUTE, (SERVICES / "nova/files/start_compute.py").read_text()
    )
    assert code == 0, said
    return said.rpartition("fenced:")[2].strip()


def test_an_open_disk_is_seen_with_its_hosts_address(
    ceph: Ceph, driver: Driver, access: LiveAccess, writer: str
) -> None:
    asked = (DISK, "vms/none_disk", "no-pool/none_disk")
    assert driver.open_disks(access, asked) == {DISK: (ceph.address("ha-3"),)}
    docker("kill", writer)
    soon(lambda: driver.open_disks(access, asked) == {}, 120)


def test_nothing_comes_from_a_host_that_is_shut_out(
    ceph: Ceph, driver: Driver, access: LiveAccess, writer: str
) -> None:
    address = ceph.address("ha-3")
    assert (seen(driver, access).shared, seen(driver, access).fenced) == ("", {})
    driver.fence(access, "ha-3", (address,))
    # repeated after an interruption
    driver.fence(access, "ha-3", (address,))
    try:
        assert seen(driver, access).fenced == {"ha-3": (address,)}
        soon(lambda: "refused" in last(writer), 60)
        assert driver.open_disks(access, (DISK,)) == {}
        assert not writes(ceph, "ha-3")
        assert writes(ceph, "ha-1")
        assert starts(ceph, "ha-3") == address
        assert starts(ceph, "ha-1") == ""
        ends = datetime.fromisoformat(ceph.json("osd", "dump")["blocklist"][f"{address}:0/0"])
        assert ends > datetime.now(UTC) + timedelta(days=365), "a host that is cut off outlives the entry"
        # what holds data there is no client
        ceph.stop("ha-3", OSD)
        ceph.start("ha-3", OSD)
        soon(ceph.up)
    finally:
        driver.unfence(access, "ha-3", (address,))
    assert seen(driver, access).fenced == {}
    soon(lambda: writes(ceph, "ha-3"), 60)
    assert starts(ceph, "ha-3") == ""


def test_an_entry_of_an_operator_stays(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    ceph.ceph("osd", "blocklist", "add", "192.0.2.7:0/0", "600")
    driver.fence(access, "ha-3", ("192.0.2.8", "2001:db8::8"))
    assert fence.listed(access, "ha-1") >= {"192.0.2.7", "192.0.2.8", "2001:db8::8"}
    assert json.loads(ceph.ceph("config-key", "get", f"{FENCED}ha-3")) == ["192.0.2.8", "2001:db8::8"]
    # another host has one of the addresses now
    driver.unfence(access, "ha-9", ("192.0.2.8",))
    found = fence.listed(access, "ha-1")
    assert "192.0.2.7" in found
    assert not {"192.0.2.8", "2001:db8::8"} & found
    assert fence.noted(access, "ha-1") == {}
    ceph.ceph("osd", "blocklist", "rm", "192.0.2.7:0/0")


def test_one_host_that_was_cut_off_writes_nothing_after_its_disk_is_open_elsewhere(
    ceph: Ceph, driver: Driver, access: LiveAccess, writer: str
) -> None:
    """Two clients that are alive hand the lock of an image to each other and write in turn: what a fence is for."""
    address = ceph.address("ha-3")
    driver.fence(access, "ha-3", (address,))
    try:
        script = "timeout 120 rbd bench --io-type=write --io-size=4K --io-total=64K --io-pattern=seq {0}"
        assert ceph.inside("ha-1", MON, "sh", "-ec", script.format(DISK), timeout=150)[0] == 0
        before = ceph.inside("ha-1", MON, "sh", "-ec", f"rbd export --no-progress {DISK} - | sha1sum")[1]
        soon(lambda: "refused" in last(writer), 60)
        after = ceph.inside("ha-1", MON, "sh", "-ec", f"rbd export --no-progress {DISK} - | sha1sum")[1]
        assert before == after
    finally:
        driver.unfence(access, "ha-3", (address,))
