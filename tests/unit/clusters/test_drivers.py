# SPDX-License-Identifier: Apache-2.0
"""Shipped drivers: what they ask where, and what they make of the answers. Outputs are real ones."""

from __future__ import annotations

import json
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
        "haproxy": "haproxy", "keepalived": "keepalived", "mariadb": "galera", "ovn": "raft", "rabbitmq": "rabbitmq",
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


def test_a_cluster_without_a_recovery_says_so(drivers: dict[str, ClusterDriver]) -> None:
    assert sorted(n for n, d in drivers.items() if d.OPTIONS) == ["mariadb", "ovn", "rabbitmq"]
    with pytest.raises(RefusedError, match="haproxy has no recovery"):
        drivers["haproxy"].recovery(RecoveryOptions())
