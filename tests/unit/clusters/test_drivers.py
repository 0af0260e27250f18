# SPDX-License-Identifier: Apache-2.0
"""Shipped drivers: what they ask where, and what they make of the answers. Outputs are real ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from scs_deploy import clusters
from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import Answers, ClusterDriver, ClusterState, RecoveryOptions
from scs_deploy.engine.remote import Answer, ContainerState
from scs_deploy.region.region import Region
from tests.conftest import dummy_region


@pytest.fixture(scope="module")
def region() -> Region:
    return dummy_region("testbed-ha")


@pytest.fixture(scope="module")
def drivers(region: Region) -> dict[str, ClusterDriver]:
    return clusters.of(region)


@pytest.fixture
def hosts(drivers: dict[str, ClusterDriver]) -> tuple[str, ...]:
    return drivers["mariadb"].hosts


def said(question: str, texts: dict[str, str]) -> Answers:
    """Answers to one question; '' when the container does not run."""
    stopped = Answer(code=-1, output="is not running", container=ContainerState.STOPPED)
    return {
        h: {question: Answer(code=0, output=t, container=ContainerState.RUNNING) if t else stopped}
        for h, t in texts.items()
    }


def only(driver: ClusterDriver, answers: Answers) -> ClusterState:
    (state,) = driver.parse(answers).clusters
    return state


def test_each_cluster_of_the_catalog_has_its_driver(drivers: dict[str, ClusterDriver]) -> None:
    named = {name: type(d).__module__.split(".")[2] for name, d in drivers.items()}
    assert named == {
        "ceph": "ceph", "haproxy": "haproxy", "keepalived": "keepalived", "mariadb": "galera", "ovn": "raft",
        "rabbitmq": "rabbitmq",
    }  # fmt: skip


def test_a_host_is_asked_only_about_containers_that_belong_there(
    region: Region, drivers: dict[str, ClusterDriver]
) -> None:
    for host in region.inventory.hosts:
        for driver in drivers.values():
            for command in driver.questions(host).values():
                places = region.hosts_of(region.catalog.owner[command.container], command.container)
                assert host in [h.name for h in places]


SYNCED = "WSREP_LOCAL_STATE\t4\nWSREP_LOCAL_STATE_COMMENT\tSynced\nWSREP_CLUSTER_STATUS\tPrimary\nWSREP_READY\tON\n"


def test_galera_counts_who_is_synced(drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]) -> None:
    joining = SYNCED.replace("\t4", "\t1").replace("Synced", "Joining").replace("ON", "OFF")
    state = only(drivers["mariadb"], said("status", dict(zip(hosts, (SYNCED, joining, ""), strict=True))))
    assert state.alive == hosts[:1]
    assert state.says == {hosts[0]: "Primary Synced", hosts[1]: "Primary Joining", hosts[2]: "is not running"}
    assert (state.needed, state.survives) == (2, -1)
    assert state.trouble == [f"Galera: not a working member on {h}" for h in hosts[1:]]


def test_rabbitmq_is_as_the_first_broker_that_answers_sees_it(
    drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]
) -> None:
    nodes = [{"name": f"rabbit@{h}", "running": h != hosts[2]} for h in (*hosts, "old")]
    state = only(drivers["rabbitmq"], said("nodes", {hosts[0]: "", hosts[1]: json.dumps(nodes)}))
    assert state.members == tuple(sorted((*hosts, "old")))
    assert state.alive == tuple(sorted((*hosts[:2], "old")))
    assert state.lacking(hosts[2]) == [
        f"RabbitMQ: not a working member on {hosts[2]}", "RabbitMQ: unknown members old",
    ]  # fmt: skip
    assert only(drivers["rabbitmq"], said("nodes", {hosts[0]: "curl: (7) Failed to connect"})).members == ()


def raft(region: Region, hosts: tuple[str, ...], own: int, leader: int) -> str:
    ids = ("958b", "bdd0", "0775")
    address = {h: region.inventory.hosts[h].management for h in hosts}
    role = "leader" if own == leader else "follower"
    lines = "\n".join(f"    {i} ({i} at ssl:{address[h]}:6643)" for i, h in zip(ids, hosts, strict=True))
    return (
        f"Server ID: {ids[own]} ({ids[own]}5bd8-9694-4d0c-bf51-69aa6ff87999)\nStatus: cluster member\nRole: {role}\n"
        f"Leader: {'self' if own == leader else ids[leader]}\nServers:\n{lines}\n"
    )


def test_raft_has_a_cluster_for_each_database(
    region: Region, drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]
) -> None:
    texts = {h: raft(region, hosts, n, leader=1) for n, h in enumerate(hosts[:2])}
    north, south = drivers["ovn"].parse(said("ovn_nb", {**texts, hosts[2]: ""})).clusters
    assert (north.name, north.members, north.alive, north.leader) == ("OVN northbound", hosts, hosts[:2], hosts[1])
    assert (south.name, south.alive, south.survives) == ("OVN southbound", (), -2)


def test_api_addresses_and_the_mark_are_seen(
    region: Region, drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]
) -> None:
    address = str(region.environment.settings.api.internal.address)
    text = json.dumps([{"addr_info": [{"local": address}, {"local": "10.0.0.1"}]}])
    answers: dict[str, dict[str, Answer]] = {h: dict(a) for h, a in said("addresses", {hosts[0]: text}).items()}
    answers[hosts[1]] = {"mark": Answer(code=0, output="")}
    answers[hosts[2]] = {"mark": Answer(code=1, output="")}
    seen = drivers["keepalived"].parse(answers)
    assert seen.addresses == {hosts[0]: (address,)}
    assert seen.marked == {hosts[1]}


def test_the_server_in_use_is_that_of_the_stick_table_while_it_works(
    drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]
) -> None:
    header = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state"
    rows = "\n".join(f"3 database {n} {h} 127.0.0.1 {2 if n else 0} 0" for n, h in enumerate(hosts))
    table = "# table: database, type: ip, size:1, used:1\n0x1: key=10.0.0.9 use=0 server_key={}\n"
    answers: dict[str, Any] = {
        hosts[0]: {
            "servers": Answer(code=0, output=f"1\n{header}\n{rows}\n"),
            "database": Answer(code=0, output=table.format(hosts[2])),
        }
    }
    seen = drivers["haproxy"].parse(answers)
    assert seen.used["database"] == hosts[2]
    assert {s.host: s.up for s in seen.servers} == {hosts[0]: False, hosts[1]: True, hosts[2]: True}
    answers[hosts[0]]["database"] = Answer(code=0, output=table.format(hosts[0]))
    assert drivers["haproxy"].parse(answers).used["database"] == hosts[1], "a server that is down is not in use"


def test_servers_that_are_never_checked_tell_nothing(drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]) -> None:
    header = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state"
    rows = f"3 identity 1 {hosts[0]} 127.0.0.1 0 0\n4 identity_unchecked 1 {hosts[0]} 127.0.0.1 2 0"
    seen = drivers["haproxy"].parse({hosts[0]: {"servers": Answer(code=0, output=f"1\n{header}\n{rows}\n")}})
    assert [(s.backend, s.up) for s in seen.servers] == [("identity", False)]


RECORDED = Path(__file__).with_name("recorded_ceph")
"""Of three hosts with a monitor, a manager and one OSD each, version 20.2.4."""


def ceph(recorded: str, quorum: str) -> Answers:
    """What one host's monitor says."""
    texts = {"cluster": (RECORDED / f"{recorded}.json").read_text(), "monitor": (RECORDED / quorum).read_text()}
    return {"ha-2": {q: Answer(code=0, output=t, container=ContainerState.RUNNING) for q, t in texts.items()}}


@pytest.fixture
def one_disk(drivers: dict[str, ClusterDriver]) -> ClusterDriver:
    """The driver of a region with one OSD on each host."""
    found = copy.copy(drivers["ceph"])
    places = dict.fromkeys(found.hosts, ("ceph_osd_a",))
    found.__class__ = type("OneDisk", (type(found),), {"disks": property(lambda _: places)})
    return found


def test_ceph_is_monitors_managers_and_osds(one_disk: ClusterDriver, hosts: tuple[str, ...]) -> None:
    seen = one_disk.parse(ceph("healthy", "mon_status.json"))
    monitors, managers, osds = seen.clusters
    assert (monitors.members, monitors.alive, monitors.leader, monitors.survives) == (hosts, hosts, "ha-1", 1)
    assert (managers.alive, managers.leader, managers.hands_over) == (hosts, "ha-1", True)
    assert (osds.alive, osds.wanted, osds.votes) == (hosts, hosts, False)
    assert [c.trouble for c in seen.clusters] == [[], [], []]
    # as many copies as hosts: none can leave
    why = "puts its data on 3 hosts, and without ha-3 there would be 2"
    assert {h: w.partition(" puts")[0] for h, w in seen.stores.items()} == dict.fromkeys(hosts, "pool .mgr")
    assert seen.stores["ha-3"] == f"pool .mgr {why}"


GIB = 1 << 20
"""In KiB."""


def four_hosts(used: int, checks: dict[str, str] | None = None, data: bool = True) -> Answers:
    """The recorded cluster with four hosts of 100 GiB, of which each uses some.

    :param data: whether the cluster says what pools hold
    """
    found = json.loads((RECORDED / "healthy.json").read_text())
    nodes, osds = found["tree"]["nodes"], found["osds"]["osds"]
    nodes.append({"id": -9, "name": "ha-4", "type": "host", "children": [3]})
    nodes.append({"id": 3, "name": "osd.3", "type": "osd", "device_class": "ssd"})
    nodes[0]["children"].append(-9)
    osds.append({"osd": 3, "up": 1, "in": 1})
    found["usage"] = {"nodes": [{"id": n, "kb": 100 * GIB, "kb_used": used * GIB, "pgs": 1} for n in range(4)]}
    if data:
        found["df"] = {"pools": [{"name": ".mgr", "stats": {"bytes_used": 4 * used * GIB * 1024}}]}
    found["status"]["health"]["checks"] = {n: {"summary": {"message": t}} for n, t in (checks or {}).items()}
    monitor = (RECORDED / "mon_status.json").read_text()
    return {"ha-2": {"cluster": Answer(code=0, output=json.dumps(found)), "monitor": Answer(code=0, output=monitor)}}


@pytest.mark.parametrize("data", [True, False])
def test_a_host_whose_data_finds_no_room_elsewhere_stays_and_the_figure_is_named(
    one_disk: ClusterDriver, data: bool
) -> None:
    assert one_disk.parse(four_hosts(60, data=data)).stores["ha-4"] == ""
    assert one_disk.parse(four_hosts(66, data=data)).stores["ha-4"] == (
        "the 66.0 GiB on ha-4 find no room elsewhere: osd.0 would be 88 % full, more than nearfull (85 %)"
    )


def test_no_host_is_taken_out_of_a_full_cluster(one_disk: ClusterDriver, hosts: tuple[str, ...]) -> None:
    seen = one_disk.parse(four_hosts(20, {"OSD_FULL": "1 full osd(s)"}))
    assert seen.full == "1 full osd(s)"
    assert {h: seen.clusters[2].needs[h] for h in hosts} == dict.fromkeys(
        hosts, "1 full osd(s): what is deleted while they are away stays on them"
    )
    seen = one_disk.parse(four_hosts(20, {"OSD_BACKFILLFULL": "1 backfillfull osd(s)"}))
    assert (seen.full, seen.clusters[2].needs) == ("", {})


def test_a_host_lacks_an_osd_that_its_disk_should_have(
    drivers: dict[str, ClusterDriver], hosts: tuple[str, ...]
) -> None:
    """The region's hosts have two disks each."""
    osds = drivers["ceph"].parse(ceph("healthy", "mon_status.json")).clusters[2]
    assert osds.alive == ()
    assert osds.heard == ("ha-1", "ha-2", "ha-3")
    assert osds.trouble == [f"Ceph OSDs on {h}: 1 of 2 OSDs up, 1 in" for h in hosts]


def test_a_dead_osd_is_seen_with_what_follows(one_disk: ClusterDriver) -> None:
    seen = one_disk.parse(ceph("one_down", "mon_status.json"))
    osds = seen.clusters[2]
    assert osds.lacking("ha-3") == ["Ceph OSDs on ha-3: 0 of 1 OSD up, 1 in"]
    assert osds.lacking("ha-2") == []
    assert osds.needs["ha-1"].startswith("ceph osd ok-to-stop: 24 pgs have unknown state")
    # an operator's noout on ha-2 is not ours
    assert seen.held == frozenset()
    assert osds.heard == ("ha-1", "ha-2")
    assert seen.shared == "", "two of three copies are enough"


def test_without_a_quorum_a_monitor_still_tells_of_itself(one_disk: ClusterDriver) -> None:
    said = {**ceph("no_quorum", "mon_status_probing.json")["ha-2"]}
    seen = one_disk.parse({"ha-2": said, "ha-1": {"monitor": Answer(code=-1, output="is not running")}})
    monitors, managers, osds = seen.clusters
    assert (monitors.members, monitors.alive) == (("ha-1", "ha-2", "ha-3"), ())
    assert monitors.says["ha-2"] == "probing"
    assert managers.alive == osds.alive == ()
    assert set(osds.needs.values()) == {"no quorum of monitors answers"}
    assert seen.shared == "no quorum of monitors answers"


def test_a_cluster_without_a_recovery_says_so(drivers: dict[str, ClusterDriver]) -> None:
    assert sorted(n for n, d in drivers.items() if d.OPTIONS) == ["ceph", "mariadb", "ovn", "rabbitmq"]
    with pytest.raises(RefusedError, match="haproxy has no recovery"):
        drivers["haproxy"].recovery(RecoveryOptions())
