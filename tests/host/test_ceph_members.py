# SPDX-License-Identifier: Apache-2.0
"""A real Ceph cluster of three hosts: what gates and the driver say while something is unwell, and what they repair.

Takes some minutes and scs/ceph. The tests use one cluster, one after the other; each leaves it well.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.clusters.base import ClusterState, Recovery, Seen
from scs_deploy.clusters.ceph import data, progress
from scs_deploy.clusters.ceph.driver import MANAGERS, MONITORS, OSDS, Driver
from scs_deploy.clusters.ceph.procedure import CephProcedure
from scs_deploy.clusters.ceph.recovery import CephOptions
from scs_deploy.operations.backup import scratch
from scs_deploy.operations.backup.manifest import Part
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_ceph import HOSTS, IMAGE, Ceph, LiveAccess, cluster, driver_of, soon

YES = (0, "")
OSD = "ceph_osd_a"

pytestmark = needs(IMAGE)


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with cluster(dummy_region("testbed-ha"), tmp_path_factory.mktemp("ceph")) as found:
        found.ceph("osd", "pool", "create", "test", "16")
        soon(found.up)
        found.inside("ha-1", "ceph_mon", "sh", "-ec", "seq 100000 | rados -p test put data -")
        yield found


@pytest.fixture
def access(ceph: Ceph) -> LiveAccess:
    return LiveAccess(ceph)


@pytest.fixture(scope="module")
def driver(ceph: Ceph) -> Driver:
    found = driver_of(ceph)
    # the other disks of these hosts are not part of the test
    found.__class__ = type("OneDisk", (Driver,), {"disks": property(lambda _: dict.fromkeys(HOSTS, (OSD,)))})
    return found


def seen(driver: Driver, access: LiveAccess) -> Seen:
    asked = {h: driver.questions(h) for h in HOSTS}
    said = access.run({h: list(q.values()) for h, q in asked.items()}).by_host
    return driver.parse({h: dict(zip(asked[h], own, strict=True)) for h, own in said.items()})


def state(driver: Driver, access: LiveAccess, name: str) -> ClusterState:
    return next(c for c in seen(driver, access).clusters if c.name == name)


def content(ceph: Ceph, pool: str = "test") -> str:
    """The sum of what was written first."""
    script = f"rados -p {pool} get data - | sha1sum; seq 100000 | sha1sum"
    read, written = ceph.inside("ha-1", "ceph_mon", "sh", "-ec", script)[1].split("\n")
    assert read == written
    return read


# gates


def test_all_may_stop_one_by_one_while_all_is_well(ceph: Ceph) -> None:
    soon(lambda: all(ceph.gate(h, n) == YES for h in HOSTS for n in ("ceph_mon", OSD)))


def test_a_monitor_may_stop_only_if_the_others_keep_a_quorum(ceph: Ceph) -> None:
    ceph.stop("ha-3", "ceph_mon")
    # before the quorum notices, and after
    lacking = "no answer from ha-3: 2 of 3 monitors must work without this one"
    assert ceph.gate("ha-1", "ceph_mon") == (1, lacking)
    soon(lambda: ceph.quorum() == ["ha-1", "ha-2"])
    assert ceph.gate("ha-2", "ceph_mon") == (1, lacking)
    ceph.start("ha-3", "ceph_mon")
    soon(lambda: ceph.gate("ha-1", "ceph_mon") == YES)


def test_a_monitor_that_hangs_is_not_asked(ceph: Ceph) -> None:
    ceph.inside("ha-2", "ceph_mon", "pkill", "-STOP", "ceph-mon")
    soon(lambda: ceph.quorum() == ["ha-1", "ha-3"])
    assert ceph.gate("ha-2", "ceph_mon") == YES
    assert ceph.gate("ha-1", "ceph_mon")[0] == 1
    ceph.inside("ha-2", "ceph_mon", "pkill", "-CONT", "ceph-mon")
    soon(lambda: ceph.gate("ha-1", "ceph_mon") == YES)


def test_an_osd_waits_until_all_have_their_copies_again(ceph: Ceph) -> None:
    ceph.stop("ha-3", OSD)
    soon(lambda: "lack a copy" in ceph.gate("ha-1", OSD)[1])
    code, said = ceph.gate("ha-1", OSD)
    numbers, _, text = said.partition(": ")
    assert code == 75
    assert numbers.split()[0] == "0", "all groups serve"
    assert "placement groups are active+undersized+degraded" in text
    # the one that the others do without may stop, as often as it likes
    ceph.start("ha-3", OSD)
    soon(lambda: all(ceph.gate(h, OSD) == YES for h in HOSTS))


def test_an_osd_may_not_stop_where_a_pool_needs_it(ceph: Ceph) -> None:
    ceph.ceph("osd", "pool", "set", "test", "min_size", "3")
    soon(lambda: "unsafe to stop osd" in ceph.gate("ha-1", OSD)[1])
    assert ceph.gate("ha-1", OSD)[0] == 1
    ceph.ceph("osd", "pool", "set", "test", "min_size", "2")
    soon(lambda: ceph.gate("ha-1", OSD) == YES)


def test_no_osd_stops_while_the_cluster_is_full(ceph: Ceph) -> None:
    ratios = {"nearfull": "0.0001", "backfillfull": "0.0002", "full": "0.0003"}
    for name, ratio in ratios.items():
        ceph.ceph("osd", f"set-{name}-ratio", ratio)
    soon(lambda: "full" in ceph.gate("ha-1", OSD)[1])
    code, said = ceph.gate("ha-1", OSD)
    assert code == 1
    assert said.endswith("there may be no room for copies")
    for name, ratio in {"full": "0.95", "backfillfull": "0.90", "nearfull": "0.85"}.items():
        ceph.ceph("osd", f"set-{name}-ratio", ratio)
    soon(lambda: ceph.gate("ha-1", OSD) == YES)


# what the driver sees


def test_a_host_with_a_dead_osd_is_seen(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    found = seen(driver, access)
    assert [c.trouble for c in found.clusters] == [[], [], []]
    assert found.stores["ha-3"].startswith("pool ")
    assert found.stores["ha-3"].endswith("puts its data on 3 hosts, and without ha-3 there would be 2")
    ceph.stop("ha-3", OSD)
    soon(lambda: not state(driver, access, OSDS).needs["ha-3"] and state(driver, access, OSDS).says)
    osds = state(driver, access, OSDS)
    assert osds.trouble == ["Ceph OSDs on ha-3: 0 of 1 OSD up, 1 in"]
    assert "unsafe to stop" in osds.needs["ha-1"]
    ceph.start("ha-3", OSD)
    soon(ceph.up)


def test_a_standby_takes_over(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    managers = state(driver, access, MANAGERS)
    driver.step_down(access, managers, managers.leader)
    assert state(driver, access, MANAGERS).leader not in ("", managers.leader)
    active = state(driver, access, MANAGERS).leader
    assert ceph.inside(active, "ceph_mgr", *ceph.run[active]["ceph_mgr"].roll.leave or ())[0] == 0
    assert state(driver, access, MANAGERS).leader not in ("", active)


def test_noout_is_for_one_host_and_an_operators_own_stays(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    def flags() -> dict[str, Any]:
        found: dict[str, Any] = ceph.json("osd", "dump")["crush_node_flags"]
        return found

    driver.hold(access, (), "ha-2")
    assert flags() == {"ha-2": ["noout"]}
    assert seen(driver, access).held == {"ha-2"}
    driver.hold(access, (), "ha-2")
    driver.let_go(access, (), "ha-2")
    assert flags() == {}
    ceph.ceph("osd", "set-group", "noout", "ha-3")
    ceph.ceph("osd", "set", "noout")
    driver.hold(access, (), "ha-3")
    assert "note: ha-3 has noout already, by someone else: it stays" in access.said
    driver.let_go(access, (), "ha-3")
    assert flags() == {"ha-3": ["noout"]}
    assert "noout" in ceph.json("osd", "dump")["flags_set"]
    ceph.ceph("osd", "unset-group", "noout", "ha-3")
    ceph.ceph("osd", "unset", "noout")


# recovery


def recover(driver: Driver, access: LiveAccess, drained: frozenset[str] = frozenset(), **options: Any) -> Recovery:
    """Like `scs recover`: read, decide, carry out, until nothing is left; the first decision."""
    procedure = driver.recovery(CephOptions(**options))
    assert isinstance(procedure, CephProcedure)
    procedure.drained = lambda _access: drained
    found = procedure.decide(settled(procedure, access))
    current = found
    for _ in range(3):
        for step in current.steps:
            access.say("step", step.what)
            procedure.act(access, step)
        current = procedure.decide(settled(procedure, access))
        if not current.steps:
            return found
    raise AssertionError(f"still to do: {current.steps}")


def settled(procedure: CephProcedure, access: LiveAccess) -> Any:
    access.wait(lambda: procedure.settling(procedure.read(access)), 45, show=False)
    return procedure.read(access)


def lose(ceph: Ceph, *hosts: str) -> None:
    for host in hosts:
        ceph.stop(host, "ceph_mon")
        ceph.lose(host, "ceph_mon")


def test_an_interrupted_drain_is_undone(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    driver.hold(access, (), "ha-2")
    assert recover(driver, access, drained=frozenset({"ha-2"})).steps == ()
    found = recover(driver, access)
    assert [s.what for s in found.steps] == ["take back noout of ha-2, which an interrupted command left"]
    assert ceph.json("osd", "dump")["crush_node_flags"] == {}


def test_a_monitor_that_lost_its_store_joins_again(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    lose(ceph, "ha-2")
    found = recover(driver, access)
    assert [(s.action, s.hosts) for s in found.steps] == [("join", ("ha-2",))]
    assert ceph.quorum() == list(HOSTS)


def test_a_lost_quorum_comes_back_from_the_survivor(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    lose(ceph, "ha-2", "ha-3")
    with pytest.raises(RefusedError, match="1 of 3 monitors have their store, a quorum is 2") as refusal:
        recover(driver, access)
    assert "--from HOST, one of: ha-1 (map " in (refusal.value.hint or "")
    with pytest.raises(RefusedError, match="the monitor on ha-1 has its store"):
        recover(driver, access, from_osds=True)
    found = recover(driver, access, source="ha-1")
    assert [s.action for s in found.steps] == ["stop", "alone", "join", "join"]
    assert ceph.quorum() == list(HOSTS)
    soon(ceph.up)
    content(ceph)


def test_all_monitors_come_back_from_the_osds(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    lose(ceph, *HOSTS)
    with pytest.raises(RefusedError, match="0 of 3 monitors have their store") as refusal:
        recover(driver, access)
    assert "--from-osds" in (refusal.value.hint or "")
    access.away = {"ha-3"}
    with pytest.raises(RefusedError, match=r"could not reach ha-3 .*, which may know more"):
        recover(driver, access, from_osds=True)
    access.away = set()
    recover(driver, access, from_osds=True)
    assert ceph.quorum() == list(HOSTS)
    soon(ceph.up)
    content(ceph)
    # the programs' own client is known again
    soon(lambda: ceph.gate("ha-1", OSD) == YES)


# backup


def load(ceph: Ceph, part: str, *words: str) -> str:
    """Have a monitor's container take what was saved."""
    done = subprocess.run(
        ["docker", "exec", "--interactive", ceph.container("ha-1", "ceph_mon"), "/etc/ceph/load_mon.py", *words],
        input=part, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else done.stderr


def kept(ceph: Ceph) -> str:
    """What a backup holds."""
    code, part = ceph.inside("ha-1", "ceph_mon", "/etc/ceph/save_mon.py")
    assert code == 0, part
    return part


NOTHING: dict[str, list[str]] = {"changes": [], "removed": [], "notes": []}
KEY = ("auth", "get", "client.desk", "--format=json")


def test_what_only_monitors_know_comes_back_from_a_backup(
    ceph: Ceph, driver: Driver, access: LiveAccess, tmp_path: Path
) -> None:
    ceph.ceph("auth", "get-or-create", "client.desk", "mon", "allow r", "mgr", 'allow command "osd ok-to-stop"')
    ceph.ceph("config", "set", "osd/class:hdd", "osd_recovery_sleep", "0.5")
    ceph.ceph("config-key", "set", "desk/motto", "slow and steady")
    ceph.ceph("mgr", "module", "enable", "alerts")
    driver.hold(access, (), "ha-2")
    key, part = ceph.ceph(*KEY), kept(ceph)
    (tmp_path / "part.json").write_text(part)
    assert json.loads(load(ceph, part, "--plan")) == NOTHING

    # somebody removes a key: a restore of everything must not give it back
    ceph.ceph("auth", "rm", "client.desk")
    assert json.loads(load(ceph, part, "--plan")) == {**NOTHING, "removed": ["key of client.desk"]}

    # another key of that name stays
    ceph.ceph("auth", "get-or-create", "client.desk", "mon", "allow r")
    other = ceph.ceph(*KEY)
    assert load(ceph, part) == ""
    assert ceph.ceph(*KEY) == other
    notes = json.loads(load(ceph, part, "--plan"))["notes"]
    assert notes == ["have another key or other capabilities now, and keep them: client.desk"]

    # all stores are lost
    lose(ceph, *HOSTS)
    assert load(ceph, part, "--plan").startswith("Error")
    recover(driver, access, from_osds=True)
    soon(ceph.up)
    changes = [
        "option osd_recovery_sleep of osd/class:hdd", "config-key desk/motto", "config-key scs/noout/ha-2",
        "module alerts of the manager", "key of client.desk",
    ]  # fmt: skip
    found = json.loads(load(ceph, part, "--plan"))
    (tmp_path / "plan.json").write_text(json.dumps(found))
    assert (sorted(set(changes) - set(found["changes"])), found["removed"]) == ([], [])
    assert not [c for c in found["changes"] if c.startswith(("key of mgr.", "key of client.admin", "key of osd."))]
    soon(lambda: load(ceph, part) == "")
    assert ceph.ceph(*KEY) == key
    assert ceph.ceph("config-key", "get", "desk/motto") == "slow and steady"
    options = {(o["section"], o["mask"], o["name"]): o["value"] for o in ceph.json("config", "dump")}
    assert options["osd", "class:hdd", "osd_recovery_sleep"].startswith("0.5")
    assert "alerts" in ceph.json("mgr", "module", "ls")["enabled_modules"]
    assert json.loads(load(ceph, part, "--plan")) == NOTHING
    assert "slow and steady" not in ceph.ceph("log", "last", "500", "debug", "audit")
    # whose noout it is, is known again
    driver.let_go(access, (), "ha-2")
    assert ceph.json("osd", "dump")["crush_node_flags"] == {}
    content(ceph)


def test_a_backup_of_another_cluster_is_refused(ceph: Ceph) -> None:
    part = kept(ceph).replace(ceph.ceph("fsid"), "11111111-2222-3333-4444-555555555555")
    assert "the backup is of cluster 11111111-2222-3333-4444-555555555555, and this is" in load(ceph, part, "--plan")
    assert "the backup is of cluster" in load(ceph, part)


def test_a_backup_is_loaded_into_a_monitor_on_trial(ceph: Ceph) -> None:
    saved = ceph.region.catalog.services["ceph"].backup["monitors"]
    part = Part(name="ceph.monitors", file="x", image=IMAGE, size=0, sha256="0" * 64, encrypted=True)

    def tried(content: str) -> str:
        return scratch.trial(ceph.region, ceph.region.catalog.services["ceph"], part, saved, content.encode())

    good = kept(ceph)
    said = tried(good)
    assert "load into a monitor" in said
    assert "of 3 OSDs and 2 pools is whole" in said
    data = json.loads(good)
    for wrong, words in (
        (good[:-20], "what was saved is damaged"),
        (json.dumps({**data, "osdmap": data["monmap"]}), "osdmaptool"),
        (json.dumps({**data, "auth": {**data["auth"], "client.bad": {"key": "x", "caps": {}}}}), "key of client.bad"),
    ):
        with pytest.raises(ScsError, match=words):
            tried(wrong)
    left = ["docker", "ps", "--all", "--quiet", "--filter", f"label={scratch.LABEL}.ceph_mon"]
    assert subprocess.run(left, capture_output=True, text=True, check=True).stdout == ""


# disks and hosts that go


def test_a_lost_disk_is_dropped_when_its_data_has_all_copies(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    old = int(ceph.json("osd", "ls-tree", "ha-3")[0])
    ceph.stop("ha-3", OSD)
    for volume in (OSD, f"{OSD}-disk"):
        ceph.lose("ha-3", volume)
    ceph.start("ha-3", OSD)
    soon(lambda: len(ceph.json("osd", "ls-tree", "ha-3")) == 2)
    driver.drop_lost(access, (), "ha-3", everything=False)
    assert old not in ceph.json("osd", "ls")
    soon(ceph.up)
    content(ceph)


def test_data_that_cannot_move_keeps_its_disk(
    ceph: Ceph, driver: Driver, access: LiveAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three copies on two hosts: nothing can move."""
    with pytest.raises(ScsError, match="puts its data on 3 hosts, and without ha-3 there would be 2"):
        driver.move_data(access, (), "ha-3")
    assert ceph.up()
    # Ceph deletes a copy of an OSD that an operator marked out, and then calls the OSD safe to destroy
    (osd,) = ceph.json("osd", "ls-tree", "ha-3")
    monkeypatch.setattr(progress, "PATIENCE", 60)
    with pytest.raises(ScsError, match=r"no progress for .*undersized"):
        data.empty(access, "ha-1", [osd])
    ceph.ceph("osd", "in", str(osd))
    soon(ceph.up)


def test_a_host_leaves_after_its_data(ceph: Ceph, driver: Driver, access: LiveAccess) -> None:
    for pool in ceph.json("osd", "pool", "ls"):
        ceph.ceph("osd", "pool", "set", pool, "size", "2")
        ceph.ceph("osd", "pool", "set", pool, "min_size", "1")
    soon(ceph.up)
    assert seen(driver, access).stores["ha-3"] == ""
    monitors = state(driver, access, MONITORS)
    driver.move_data(access, (), "ha-3")
    driver.leave(access, monitors, "ha-3")
    assert ceph.quorum() == ["ha-1", "ha-2"]
    ceph.stop("ha-3", OSD, "ceph_mgr")
    driver.drop_lost(access, (), "ha-3", everything=True)
    driver.drop_lost(access, (), "ha-3", everything=True)
    assert [n["name"] for n in ceph.json("osd", "tree")["nodes"] if n["type"] == "host"] == ["ha-1", "ha-2"]
    assert len(ceph.json("osd", "ls")) == 2
    soon(ceph.up)
    content(ceph)
