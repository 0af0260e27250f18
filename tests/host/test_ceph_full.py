# SPDX-License-Identifier: Apache-2.0
"""A real Ceph cluster that is full: what it says, what it refuses, and that the ways out work.

The ratios are lowered, so that a few hundred MiB fill it. Takes some minutes and scs/ceph. The tests use one cluster,
one after the other; each leaves it well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scs_deploy.shared.ceph import disks, status
from scs_deploy.shared.ceph.room import Level
from scs_deploy.shared.ceph.session import Ceph as Session
from scs_deploy.shared.ceph.status import Status
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_ceph import HOSTS, IMAGE, Ceph, cluster, soon
from tests.support.live_haproxy import docker

OSD = "ceph_osd_a"
USUAL = {"nearfull": 0.85, "backfillfull": 0.9, "full": 0.95}
LOW = {"nearfull": 0.005, "backfillfull": 0.007, "full": 0.01}
"""Of 8 GiB; each OSD holds some 130 MiB in these tests."""
PORT = 8000

pytestmark = needs(IMAGE)


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with cluster(dummy_region("testbed-ha"), tmp_path_factory.mktemp("ceph")) as found:
        found.ceph("osd", "pool", "create", "test", "16")
        soon(found.up)
        put(found, "kept", 100)
        yield found


def put(ceph: Ceph, name: str, mebibytes: int, seconds: int = 60) -> int:
    """Exit code of a write; 124: it had to wait."""
    script = f"head -c {mebibytes}M /dev/zero | timeout {seconds} rados -p test put {name} -"
    return ceph.inside("ha-1", "ceph_mon", "sh", "-c", script, timeout=120)[0]


def size(ceph: Ceph, name: str) -> int:
    """Bytes that are read back."""
    script = f"timeout 30 rados -p test get {name} - | wc -c"
    return int(ceph.inside("ha-1", "ceph_mon", "sh", "-c", script)[1])


def session(ceph: Ceph) -> Session:
    return Session(ceph.region, lambda host, container, argv: ceph.inside(host, container, *argv))


def seen(ceph: Ceph) -> Status:
    return Status.parse(session(ceph).ask(status.QUESTIONS))


def set_ratios(ceph: Ceph, ratios: dict[str, float]) -> None:
    order = ("full", "backfillfull", "nearfull") if ratios is USUAL else ("nearfull", "backfillfull", "full")
    for name in order:
        ceph.ceph("osd", f"set-{name}-ratio", str(ratios[name]))


@contextmanager
def filled(ceph: Ceph, level: Level) -> Iterator[None]:
    """The cluster is full to this level."""
    ratios = {**USUAL, **{n: r for n, r in LOW.items() if level is Level.FULL or n != "full"}}
    set_ratios(ceph, ratios)
    try:
        soon(lambda: (found := seen(ceph).fill) and found.level is level and len(found.osds) == len(HOSTS))
        yield
    finally:
        set_ratios(ceph, USUAL)
        soon(lambda: seen(ceph).fill is None)
        soon(ceph.up)


def test_a_full_cluster_says_so_refuses_writes_and_loses_none(ceph: Ceph) -> None:
    with filled(ceph, Level.FULL):
        assert seen(ceph).trouble.startswith("full: osd.0, osd.1, osd.2 are over 1 %: Ceph refuses writes")
        assert put(ceph, "refused", 1, seconds=10) == 124
        assert size(ceph, "kept") == 100 << 20
        code, why = ceph.gate("ha-1", OSD)
        assert (code, why) == (1, "3 full osd(s): an OSD that was away could not catch up; make room first")
    assert put(ceph, "accepted", 1) == 0
    assert size(ceph, "accepted") == 1 << 20


def test_an_osd_restarts_while_disks_are_too_full_for_copies_of_others(ceph: Ceph) -> None:
    with filled(ceph, Level.BACKFILLFULL):
        soon(lambda: ceph.gate("ha-3", OSD) == (0, ""))
        ceph.stop("ha-3", OSD)
        assert put(ceph, "meanwhile", 4) == 0
        ceph.start("ha-3", OSD)
        soon(ceph.up)
        assert size(ceph, "meanwhile") == 4 << 20


def test_why_no_osd_of_a_full_cluster_restarts(ceph: Ceph) -> None:
    """What is deleted while it is away stays on it, until the full ratio is raised."""
    put(ceph, "deleted", 60)
    with filled(ceph, Level.FULL):
        ceph.stop("ha-3", OSD)
        soon(lambda: ceph.json("osd", "stat")["num_up_osds"] == 2)
        ceph.inside("ha-1", "ceph_mon", "rados", "-p", "test", "rm", "deleted", "--force-full")
        ceph.start("ha-3", OSD)
        soon(lambda: "PG_RECOVERY_FULL" in {c.name for c in seen(ceph).checks})
        ceph.ceph("osd", "set-full-ratio", "0.05")
        soon(ceph.up)


def test_new_disks_take_data_of_a_full_cluster(ceph: Ceph) -> None:
    with filled(ceph, Level.FULL):
        for host in HOSTS:
            ceph._install(host, "ceph_osd_b")
            ceph.add(host, "ceph_osd_b")
        soon(lambda: all(ceph.healthy(h, "ceph_osd_b") for h in HOSTS))

        def taken() -> bool:
            osds = disks.osds(session(ceph).ask(disks.QUESTIONS))
            return len(osds) == 6 and all(o.placement_groups for o in osds)

        soon(taken)
        soon(lambda: not seen(ceph).misplaced)
    assert size(ceph, "kept") == 100 << 20


def radosgw(ceph: Ceph) -> None:
    """Start it anew beside the first monitor."""
    ceph.inside("ha-1", "ceph_mon", "pkill", "radosgw")
    soon(lambda: not serves(ceph))
    command = ("radosgw", "-n", "client.admin", "--rgw_frontends", f"beast port={PORT}")
    docker("exec", "--detach", ceph.container("ha-1", "ceph_mon"), *command, "-f")


def serves(ceph: Ceph) -> bool:
    script = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/swift/healthcheck', timeout=5)"
    return ceph.inside("ha-1", "ceph_mon", "python3", "-c", script)[0] == 0


def test_a_radosgw_that_starts_waits_for_room(ceph: Ceph) -> None:
    """That is why none is restarted while the cluster is full."""
    radosgw(ceph)
    soon(lambda: serves(ceph))
    with filled(ceph, Level.FULL):
        assert serves(ceph)
        radosgw(ceph)
        time.sleep(20)
        assert not serves(ceph)
    soon(lambda: serves(ceph))
