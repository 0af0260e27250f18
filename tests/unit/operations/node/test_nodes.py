# SPDX-License-Identifier: Apache-2.0
"""Hosts of a running region: what is seen -> steps or refusals. Programs' outputs are real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters import haproxy
from scs_deploy.clusters.base import ClusterState, Server
from scs_deploy.clusters.galera import driver as galera
from scs_deploy.clusters.raft import status
from scs_deploy.clusters.raft.chassis import bindings
from scs_deploy.operations.node import guests, inventory, membership, pipelines, plan, trust
from scs_deploy.operations.node.cloud import free
from scs_deploy.operations.node.plan import NodeOptions, NodePlan
from scs_deploy.operations.node.run import refuse
from scs_deploy.operations.node.view import Compute, Guest, HostView, View, disabled_reason
from scs_deploy.plan.change import REGION, Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

LEADER = """\
958b
Name: OVN_Northbound
Cluster ID: a2ac (a2accd39-740d-4819-8b61-ff741cb4cf5d)
Server ID: 958b (958b5bd8-9694-4d0c-bf51-69aa6ff87999)
Address: ssl:172.30.2.11:6643
Status: cluster member
Role: leader
Term: 2
Leader: self
Vote: self

Last Election won: 1107496 ms ago
Election timer: 4000
Log: [2, 10]
Entries not yet committed: 0
Entries not yet applied: 0
Connections: <-0775 ->0775 <-bdd0 ->bdd0
Disconnections: 0
Servers:
    958b (958b at ssl:172.30.2.11:6643) (self) next_index=3 match_index=9
    bdd0 (bdd0 at ssl:172.30.2.13:6643) next_index=10 match_index=9 last msg 1083 ms ago
    0775 (0775 at ssl:172.30.2.12:6643) next_index=10 match_index=9 last msg 1083 ms ago
"""
STATES = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state \
bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr \
srv_agent_port
2 a 1 x 127.0.0.1 2 8 1 1 2 8 2 0 6 0 0 0 - 8001 - 0 0 - - 0
2 a 2 y 127.0.0.1 0 0 1 1 2 8 2 0 6 0 0 0 - 8002 - 0 0 - - 0
3 b 1 x 127.0.0.1 0 1 1 1 1 8 2 0 14 0 0 0 - 8001 - 0 0 - - 0

"""
HOSTS = ("a", "b", "c")


def test_raft_status_of_a_leader() -> None:
    found = status.raft(LEADER)
    assert found is not None
    assert (found.id, found.role, found.leader, found.member) == ("958b", "leader", "958b", True)
    assert [(s.id, s.address, s.last) for s in found.servers] == [
        ("958b", "172.30.2.11", None), ("bdd0", "172.30.2.13", 1083), ("0775", "172.30.2.12", 1083),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "member"),
    [
        ("Leader: self", "Leader: unknown", False),
        ("Status: cluster member", "Status: joining cluster", False),
        ("Role: leader\nTerm: 2\nLeader: self", "Role: follower\nTerm: 2\nLeader: bdd0", True),
    ],
)
def test_raft_member(old: str, new: str, member: bool) -> None:
    found = status.raft(LEADER.replace(old, new))
    assert found is not None
    assert found.member is member


def test_raft_status_of_ipv6_members() -> None:
    found = status.raft(LEADER.replace("172.30.2.13", "[fd00::13]"))
    assert found is not None
    assert found.servers[1].address == "fd00::13"


def test_no_raft_status() -> None:
    assert status.raft("ovs-appctl: cannot connect to /run/ovn/ovnnb_db.ctl (No such file or directory)") is None


@pytest.mark.parametrize(
    ("own", "empty", "stale"),
    [
        ("", True, ("bdd0",)),  # a new disk: the member of before must go
        ("bdd0", False, ()),  # the very member
        ("ffff", False, ("bdd0",)),  # joined again under a new id
        ("", False, ()),  # stopped only: kicked, it could not come back
    ],
)
def test_stale_raft_members(own: str, empty: bool, stale: tuple[str, ...]) -> None:
    found = status.raft(LEADER)
    assert found is not None
    assert status.stale(found, "172.30.2.13", own, empty) == stale


def test_haproxy_server_states() -> None:
    assert [(s.backend, s.host, s.up, s.state) for s in haproxy.parse("a", STATES)] == [
        ("a", "x", True, "drain"), ("a", "y", False, "ready"), ("b", "x", False, "maint"),
    ]  # fmt: skip
    assert haproxy.parse("a", "") == []


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("WSREP_LOCAL_STATE\t4\nWSREP_CLUSTER_SIZE\t3\nWSREP_CLUSTER_STATUS\tPrimary\nWSREP_READY\tON\n", True),
        ("WSREP_LOCAL_STATE\t2\nWSREP_CLUSTER_SIZE\t3\nWSREP_CLUSTER_STATUS\tPrimary\nWSREP_READY\tON\n", True),
        ("WSREP_LOCAL_STATE\t1\nWSREP_CLUSTER_SIZE\t3\nWSREP_CLUSTER_STATUS\tPrimary\nWSREP_READY\tOFF\n", False),
        ("WSREP_LOCAL_STATE\t0\nWSREP_CLUSTER_SIZE\t1\nWSREP_CLUSTER_STATUS\tnon-Primary\nWSREP_READY\tOFF\n", False),
        ("ERROR 2002 (HY000): Can't connect to server on '172.30.2.11' (115)", False),
    ],
)
def test_galera(text: str, works: bool) -> None:
    assert galera.works(galera.parse(text)) is works


def test_router_ports_by_chassis() -> None:
    chassis = '{"data":[[["uuid","94b3"],"ha-2"],[["uuid","41ea"],"ha-1"]],"headings":["_uuid","name"]}'
    ports = '{"data":[["cr-lrp-1",["uuid","41ea"]],["cr-lrp-2",["set",[]]]],"headings":["logical_port","chassis"]}'
    assert bindings(ports, chassis) == {"ha-1": ("cr-lrp-1",)}


def test_free_resources_count_overcommitment_and_reserve() -> None:
    inventories: dict[str, dict[str, Any]] = {
        "VCPU": {"total": 2, "reserved": 0, "allocation_ratio": 3.0},
        "MEMORY_MB": {"total": 4096, "reserved": 512},
    }
    assert free(inventories, {"VCPU": 2, "MEMORY_MB": 1024}) == {"VCPU": 4, "MEMORY_MB": 2560}


def guest(name: str = "web", **values: Any) -> Guest:
    return Guest(
        **{"id": f"id-{name}", "name": name, "status": "ACTIVE", "vcpus": 1, "memory": 512, "disk": 1, **values}
    )


ROOM = Compute(vcpus=4, memory=4096, disk=40, zone="nova")


@pytest.mark.parametrize(
    ("one", "targets", "why"),
    [
        (guest(), {"b": ROOM}, ""),
        (guest(status="PAUSED"), {"b": ROOM}, ""),
        (guest(status="ERROR"), {"b": ROOM}, "its state is ERROR"),
        (guest(status="SHUTOFF"), {"b": ROOM}, "shut off"),
        (guest(status="RESCUE"), {"b": ROOM}, "its state is RESCUE"),
        (guest(task="rebuilding"), {"b": ROOM}, "busy: rebuilding"),
        (guest(status="MIGRATING", task="migrating"), {"b": ROOM}, ""),
        (guest(), {}, "no other compute host"),
        (guest(memory=8192), {"b": ROOM}, "no host has 1 vCPUs, 8192 MiB"),
        (guest(vcpus=8), {"b": ROOM}, "no host has 8 vCPUs"),
        (guest(disk=100), {"b": ROOM}, "100 GiB free"),
        (guest(together="pair"), {"b": ROOM}, "affinity"),
        (guest(apart=("b",)), {"b": ROOM}, "anti-affinity"),
        (guest(apart=("b",)), {"b": ROOM, "c": ROOM}, ""),
        (guest(zone="west"), {"b": ROOM}, "availability zone west"),
        (guest(zone="nova"), {"b": ROOM}, ""),
    ],
)
def test_which_guests_can_leave(one: Guest, targets: dict[str, Compute], why: str) -> None:
    found = guests.stuck([one], targets)
    assert (why in found[one.id]) if why else (found == {})


def test_room_is_given_once() -> None:
    small = [guest(str(n), memory=2048) for n in range(3)]
    assert len(guests.stuck(small, {"b": ROOM})) == 1
    assert guests.stuck(small, {"b": ROOM, "c": ROOM}) == {}


def test_the_largest_guest_finds_its_place_first() -> None:
    own = [guest("small", memory=2048), guest("large", memory=4096)]
    assert list(guests.stuck(own, {"b": ROOM, "c": Compute(vcpus=4, memory=2048, disk=40)})) == []


def region(**changes: Any) -> View:
    """Three hosts with every role on each, all well."""
    hosts = {h: HostView(name=h, groups=("compute", "control", "network"), gateway=True) for h in HOSTS}
    hosts["a"] = hosts["a"].model_copy(update={"addresses": ("10.0.0.9",)})
    clusters = tuple(
        ClusterState(name=n, members=HOSTS, alive=HOSTS, wanted=HOSTS, dynamic=n == "Galera")
        for n in ("Galera", "RabbitMQ", "OVN northbound")
    )
    servers = tuple(
        Server(balancer=b, backend=backend, host=h, up=True, state="ready")
        for b in HOSTS
        for backend in ("identity", "database", "image")
        for h in HOSTS
    )
    values: dict[str, Any] = {
        "hosts": hosts,
        "clusters": clusters,
        "servers": servers,
        "balancers": HOSTS,
        "backends": {"identity": "drain", "database": "maint", "image": ""},
        "used": {"database": "a", "image": "a"},
        "computes": {h: ROOM.model_copy(update={"uuid": f"uuid-{h}"}) for h in HOSTS},
        "guests": {"c": (guest(),)},
    }
    return View(**{**values, **changes})


def changed(view: View, host: str, **values: Any) -> View:
    return view.model_copy(update={"hosts": {**view.hosts, host: view.hosts[host].model_copy(update=values)}})


def without(view: View, host: str) -> View:
    """`host` does not work in any cluster."""
    dead = tuple(c.model_copy(update={"alive": tuple(h for h in c.alive if h != host)}) for c in view.clusters)
    return view.model_copy(update={"clusters": dead})


def names(made: NodePlan) -> list[str]:
    return [s.name for s in made.steps]


ALL_OFF = ["disable_compute", "move_guests", "release_gateways", "drain_balancer", "move_addresses", "move_writer"]


def test_drain_takes_everything_off() -> None:
    made = plan.drain(region(), "c", NodeOptions())
    assert names(made) == ALL_OFF
    assert made.refusals == ()
    assert "web" in made.steps[1].title


def test_guests_stay_while_ceph_is_full() -> None:
    full = region(full="osd.0 is over 95 %")
    made = plan.drain(full, "c", NodeOptions())
    assert "its disk in Ceph cannot be opened on another host: osd.0 is over 95 %" in made.refusals[0].reason
    assert "--leave-guests" in made.refusals[0].hint
    assert plan.drain(full, "c", NodeOptions(leave_guests=True)).refusals == ()
    assert plan.drain(region(full="osd.0 is over 95 %", guests={}), "c", NodeOptions()).refusals == ()


def test_drain_says_what_data_stays() -> None:
    assert "image stays on a" in plan.drain(region(), "a", NodeOptions()).notes[0]
    assert plan.drain(region(), "b", NodeOptions()).notes == ()


def test_drain_goes_on_where_it_stopped() -> None:
    view = changed(region(), "c", gateway=False)
    view = view.model_copy(
        update={"computes": {**view.computes, "c": ROOM.model_copy(update={"enabled": False})}, "guests": {}}
    )
    assert names(plan.drain(view, "c", NodeOptions())) == ["drain_balancer", "move_addresses", "move_writer"]


def test_a_drained_host_needs_nothing() -> None:
    view = changed(region(guests={}), "c", gateway=False, marked=True)
    out = {"identity": "drain", "database": "maint", "image": "ready"}
    servers = tuple(s.model_copy(update={"state": out[s.backend]}) if s.host == "c" else s for s in view.servers)
    view = view.model_copy(
        update={"servers": servers, "computes": {**view.computes, "c": ROOM.model_copy(update={"enabled": False})}}
    )
    assert names(plan.drain(view, "c", NodeOptions())) == []
    assert view.drained("c")
    assert not view.drained("a")
    back = view.model_copy(
        update={
            "computes": {**view.computes, "c": ROOM.model_copy(update={"enabled": False, "reason": "scs node drain"})}
        }
    )
    assert names(plan.undrain(back, "c")) == ["verify", "use_balancer", "take_gateways", "enable_compute"]


@pytest.mark.parametrize("reason", ["broken fan", "scs node drain: broken fan", "scs nodes are rebuilt", "scs node"])
def test_undrain_leaves_what_an_operator_disabled(reason: str) -> None:
    view = region(computes={"c": ROOM.model_copy(update={"enabled": False, "reason": reason})})
    made = plan.undrain(view, "c")
    assert names(made) == []
    assert reason in made.notes[0]


@pytest.mark.parametrize("verb", ["drain", "replace", "remove"])
def test_undrain_enables_what_scs_disabled(verb: str) -> None:
    view = region(computes={"c": ROOM.model_copy(update={"enabled": False, "reason": disabled_reason(verb)})})
    assert "enable_compute" in names(plan.undrain(view, "c"))


def test_undrain_of_a_host_in_use_does_nothing() -> None:
    assert names(plan.undrain(region(), "c")) == []


@pytest.mark.parametrize(
    ("view", "host", "options", "reason"),
    [
        (without(region(), "b"), "c", NodeOptions(), "Galera would have 1 of 3 members without c, but needs 2"),
        (without(region(), "b"), "c", NodeOptions(force_quorum_loss=True), ""),
        (without(region(), "c"), "c", NodeOptions(), ""),
        (region(guests={"c": (guest(status="ERROR"),)}), "c", NodeOptions(), "web (id-web): its state is ERROR"),
        (region(guests={"c": (guest(status="ERROR"),)}), "c", NodeOptions(leave_guests=True), ""),
        (changed(region(), "c", unreachable="No route to host"), "c", NodeOptions(), "No route to host"),
        (region(balancers=("c",)), "c", NodeOptions(), "no other host can hold the API addresses"),
        (changed(changed(region(), "a", gateway=False), "b", gateway=False), "c", NodeOptions(), "the only gateway"),
        (
            region(hosts={"c": HostView(name="c", groups=("control",))}, clusters=(), servers=(), computes={}),
            "c", NodeOptions(force_quorum_loss=True), "the only host",
        ),
    ],
)  # fmt: skip
def test_drain_refuses(view: View, host: str, options: NodeOptions, reason: str) -> None:
    made = plan.drain(view, host, options)
    if not reason:
        assert made.refusals == ()
        return
    with pytest.raises(RefusedError, match=r"(?s).*") as error:
        refuse(made)
    assert reason in str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def with_data(view: View, **changes: Any) -> View:
    """Every host has copies of data; `changes` of the OSDs' state."""
    osds = {"name": "Ceph OSDs", "members": HOSTS, "alive": HOSTS, "wanted": HOSTS, "votes": False, **changes}
    hosts = {n: h.model_copy(update={"stores": ""}) for n, h in view.hosts.items()}
    return view.model_copy(update={"hosts": hosts, "clusters": (*view.clusters, ClusterState.model_validate(osds))})


def test_the_others_wait_for_a_drained_host_with_copies_of_data() -> None:
    view = with_data(region())
    assert names(plan.drain(view, "c", NodeOptions())) == [*ALL_OFF, "hold_data"]
    held = changed(view, "c", held=True)
    assert names(plan.drain(held, "c", NodeOptions())) == ALL_OFF
    assert names(plan.undrain(held, "c")) == ["verify", "let_data_go"]
    assert names(plan.undrain(view, "c")) == []


def test_a_host_whose_copies_are_needed_is_not_drained() -> None:
    view = with_data(region(), needs={"c": "3 PGs would become offline"})
    made = plan.drain(view, "c", NodeOptions())
    assert [r.reason for r in made.refusals] == ["Ceph OSDs on c are needed: 3 PGs would become offline"]
    assert plan.drain(view, "c", NodeOptions(force_quorum_loss=True)).refusals == ()
    assert plan.drain(view, "b", NodeOptions()).refusals == ()


def test_data_does_not_vote() -> None:
    """Two of four hosts with disks are no lost quorum, and an even number of them is no problem."""
    four = {"members": ("a", "b", "c", "d"), "wanted": ("a", "b", "c", "d")}
    view = with_data(region(), alive=("a", "b"), **four)
    assert plan.drain(view, "c", NodeOptions()).refusals == ()
    assert plan.add(view, "c").refusals == ()


def test_data_leaves_before_its_host() -> None:
    view = with_data(region())
    made = plan.remove(view, "c", NodeOptions(force_quorum_loss=True))
    order = [n for n in names(made) if n in ("move_data", "leave", "remove_containers", "forget", "drop_data")]
    assert order == ["move_data", "leave", "remove_containers", "forget", "drop_data"]
    gone = changed(view.model_copy(update={"guests": {}}), "c", unreachable="No route to host")
    assert names(plan.remove(gone, "c", NodeOptions(force_quorum_loss=True)))[:3] == [
        "move_data",
        "forget",
        "drop_data",
    ]
    stuck = changed(view, "c", stores="pool volumes puts its data on 3 hosts, and without c there would be 2")
    with pytest.raises(RefusedError, match="pool volumes puts its data on 3 hosts, and without c there would be 2"):
        refuse(plan.remove(stuck, "c", NodeOptions(force_quorum_loss=True)))


def test_lost_disks_of_a_replaced_host_are_removed_before_it_is_checked() -> None:
    made = names(plan.replace(changed(with_data(region(guests={})), "c", empty=True, held=True), "c", NodeOptions()))
    assert made.index("apply") < made.index("drop_data") < made.index("verify") < made.index("let_data_go")


def test_a_host_with_guests_that_stay_moves_the_others() -> None:
    own = (guest(), guest("broken", status="ERROR"))
    made = plan.drain(region(guests={"c": own}), "c", NodeOptions(leave_guests=True))
    assert made.steps[1].title == "live-migrate 1 guest: web"
    assert [str(s) for s in made.stays] == ["broken (id-broken): its state is ERROR"]


def test_a_compute_host_has_fewer_steps() -> None:
    view = region(balancers=("a", "b"), servers=())
    view = changed(view, "c", gateway=False, groups=("compute",))
    clusters = tuple(
        c.model_copy(update={"members": ("a", "b"), "alive": ("a", "b"), "wanted": ("a", "b")}) for c in view.clusters
    )
    assert names(plan.drain(view.model_copy(update={"clusters": clusters}), "c", NodeOptions())) == ALL_OFF[:2]


def test_replace_of_an_empty_host() -> None:
    view = changed(without(region(guests={}), "b"), "b", empty=True, gateway=False)
    made = plan.replace(view, "b", NodeOptions())
    assert made.refusals == ()
    assert names(made) == [
        "disable_compute", "hold_back", "forget", "bootstrap", "identity", "move_addresses", "apply", "verify",
        "use_balancer", "take_gateways", "enable_compute",
    ]  # fmt: skip
    assert "uuid-b" in made.steps[4].title


@pytest.mark.parametrize(
    ("view", "options", "reason"),
    [
        (changed(without(without(region(), "a"), "b"), "b", empty=True), NodeOptions(), "already down: a"),
        (changed(region(guests={"b": (guest(),)}), "b", empty=True), NodeOptions(), "whose disks are lost: web"),
        (changed(region(guests={"b": (guest(),)}), "b", empty=True), NodeOptions(leave_guests=True), ""),
        (region(guests={"b": (guest(),)}), NodeOptions(), ""),
        (changed(region(), "b", unreachable="timed out"), NodeOptions(), "timed out"),
    ],
)
def test_replace_refuses(view: View, options: NodeOptions, reason: str) -> None:
    assert reason in "".join(r.reason for r in plan.replace(view, "b", options).refusals)
    assert bool(reason) == bool(plan.replace(view, "b", options).refusals)


def wants(view: View, hosts: tuple[str, ...]) -> View:
    return view.model_copy(update={"clusters": tuple(c.model_copy(update={"wanted": hosts}) for c in view.clusters)})


def test_a_fourth_member_is_refused() -> None:
    view = region()
    view = view.model_copy(update={"hosts": {**view.hosts, "d": HostView(name="d", groups=("control",), empty=True)}})
    refusals = plan.add(wants(view, ("a", "b", "c", "d")), "d").refusals
    assert "Galera would have 4 members" in refusals[0].reason
    assert "odd number" in refusals[0].hint
    assert plan.add(wants(view, ("a", "b", "c", "d", "e")), "d").refusals == ()


def test_add_of_a_compute_host() -> None:
    view = region()
    view = view.model_copy(update={"hosts": {**view.hosts, "d": HostView(name="d", groups=("compute",), empty=True)}})
    made = plan.add(view, "d")
    assert names(made) == ["certificates", "bootstrap_all", "apply", "verify"]
    assert made.refusals == ()


def test_remove_refuses_an_even_number() -> None:
    refusals = plan.remove(region(guests={}), "c", NodeOptions()).refusals
    assert "2 members left, an even number" in refusals[0].reason
    assert plan.remove(region(guests={}), "c", NodeOptions(force_quorum_loss=True)).refusals == ()


def test_remove_of_a_member() -> None:
    made = plan.remove(region(guests={}), "c", NodeOptions(force_quorum_loss=True, purge=True))
    assert names(made) == [
        *[n for n in ALL_OFF if n != "move_guests"], "leave", "remove_containers", "purge", "forget", "delete_compute",
        "delete_agents",
    ]  # fmt: skip


def test_remove_loses_no_guest() -> None:
    view = region(guests={"c": (guest(status="SHUTOFF"),)})
    refusals = plan.remove(view, "c", NodeOptions(force_quorum_loss=True, leave_guests=True)).refusals
    assert "1 guest would be lost: web" in refusals[0].reason


def test_remove_of_a_dead_host_works_without_it() -> None:
    view = changed(without(region(guests={}), "c"), "c", unreachable="No route to host")
    made = plan.remove(view, "c", NodeOptions(force_quorum_loss=True))
    assert names(made) == ["forget", "delete_compute", "delete_agents"]
    assert "its containers are not stopped" in made.notes[0]


def test_membership_that_is_whole() -> None:
    assert membership.missing(region(), "b") == []


@pytest.mark.parametrize(
    ("view", "lack"),
    [
        (without(region(), "b"), "Galera: not a working member on b"),
        (changed(region(), "b", unreachable="timed out"), "unreachable"),
        (region(computes={"b": Compute(up=False)}), "compute service is not up"),
        (region(no_compute="502", computes={}), "Nova does not respond: 502"),
        (
            region(servers=(Server(balancer="a", backend="identity", host="b", up=False, state="ready"),)),
            "identity is down",
        ),
        (
            region(clusters=(ClusterState(name="RabbitMQ", members=(*HOSTS, "old"), alive=HOSTS, wanted=HOSTS),)),
            "unknown members old",
        ),
    ],
)
def test_membership_that_lacks_something(view: View, lack: str) -> None:
    assert lack in "; ".join(membership.missing(view, "b"))


def test_a_returning_host_changes_no_other_one() -> None:
    def change(kind: Kind, host: str) -> Change:
        return Change(
            kind=kind, service="nova", host=host, subject="x", reason="r", phase=Phase.ROLL, impact=Impact.API
        )

    own, region_wide, job = change(Kind.CREATE, "b"), change(Kind.ACCOUNT, REGION), change(Kind.JOB, "a")
    everything = Plan(changes=(own, change(Kind.RESTART, "a"), region_wide, job))
    assert pipelines.mine(everything, "b").changes == (own, region_wide, job)


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FINGERPRINT = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


def test_fingerprint_is_that_of_ssh_keygen() -> None:
    # github.com's published host key
    assert trust.fingerprint(KEY) == FINGERPRINT


def test_only_the_named_key_is_trusted() -> None:
    scan = f"# 10.0.0.2:22 SSH-2.0-OpenSSH_10.0\n10.0.0.2 {KEY}\n"
    assert trust.matching(scan, FINGERPRINT) == KEY
    with pytest.raises(RefusedError, match=r"it offers SHA256:\+DiY3"):
        trust.matching(scan, "SHA256:other")
    with pytest.raises(RefusedError, match="offers no SSH key"):
        trust.matching("", FINGERPRINT)


def test_a_new_host_key_is_explained() -> None:
    error = trust.explain("b", "Host key verification failed.")
    assert error is not None
    assert "--host-key-fingerprint" in str(error)
    assert trust.explain("b", "connect to host 10.0.0.2 port 22: No route to host") is None


def test_inventory_lines_of_a_host(tmp_path: Path) -> None:
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "ha-3.yml").write_text("---\nansible_host: 10.0.0.3\n")
    (tmp_path / "host_vars" / "ha-33.yml").write_text("---\nansible_host: 10.0.0.4\n")
    (tmp_path / "hosts.yml").write_text(
        "---\nall:\n  children:\n    # three\n    control:\n      hosts:\n        ha-1:\n        ha-3:\n"
        "    compute:\n      hosts:\n        ha-3:\n"
    )
    assert inventory.mentions(tmp_path, "ha-3") == [
        f"{tmp_path}/host_vars/ha-3.yml", f"{tmp_path}/hosts.yml:8", f"{tmp_path}/hosts.yml:11",
    ]  # fmt: skip
