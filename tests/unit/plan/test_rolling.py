# SPDX-License-Identifier: Apache-2.0
"""In which order members change, and what is asked and drained before: from changes to plays."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.engine import playbook
from scs_deploy.engine.playbook import PlayKind
from scs_deploy.observed.model import BackendServer, ForcedServer
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.region import Plan, assemble, unavailable
from scs_deploy.plan.rolling import Backend, Rolling, hosts_in_use, leftovers
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from tests.conftest import dummy_region

HOSTS = ("n1", "n2", "n3")
API = Backend(name="web", service="web", containers=("web_api",), hosts=HOSTS, single=False, http=True)
DATABASE = Backend(name="db", service="db", containers=("db", "db_check"), hosts=HOSTS, single=True, http=False)
MOVING = Rolling(
    balancers=HOSTS,
    backends=(API, DATABASE),
    gated=frozenset({"db"}),
    computes=frozenset({"agent", "compute"}),
    batch=5,
    agents={"compute": ("compute", "nova-compute")},
)


@pytest.fixture(scope="module")
def three() -> Region:
    return dummy_region("testbed-ha")


def change(host: str, subject: str, kind: Kind = Kind.REPLACE, service: str = "") -> Change:
    return Change(
        kind=kind, service=service or subject.partition("_")[0], host=host, subject=subject, reason="",
        phase=Phase.ROLL, impact=Impact.API,
    )  # fmt: skip


def steps(*changes: Change, **plan: Any) -> list[str]:
    """The plays in short: `drain web/n1 in HAProxy at n1,n2,n3`."""
    result = []
    found = playbook.plays(Plan(changes=changes, **plan), {"db": 0, "web": 1, "agent": 1}, MOVING)
    for play in playbook.render(found):
        for task in play["tasks"]:
            name = task["name"][:1].lower() + task["name"][1:]
            unit = " (goes on)" if play.get("vars") == {"scs_together": True} else ""
            serial = f" by {play['serial']}" if "serial" in play else ""
            result.append(f"{name} at {play['hosts']}{serial}{unit}")
    return result


def test_an_api_leaves_the_load_balancers_while_it_is_replaced() -> None:
    assert steps(change("n1", "web_api"), change("n2", "web_api")) == [
        "drain web/n1 in HAProxy at n1,n2,n3",
        "replace web_api at n1 by 1 (goes on)",
        "enable web/n1 in HAProxy at n1,n2,n3 (goes on)",
        "drain web/n2 in HAProxy at n1,n2,n3",
        "replace web_api at n2 by 1 (goes on)",
        "enable web/n2 in HAProxy at n1,n2,n3 (goes on)",
    ]


def test_a_drain_waits_as_long_as_the_slowest_requests_may_take() -> None:
    store = API.model_copy(update={"name": "store", "drain": 300})
    waits = []
    for backends in ((API,), (API, store)):
        rolling = MOVING.model_copy(update={"backends": backends})
        drain, *_ = playbook.plays(Plan(changes=(change("n1", "web_api"),)), {"web": 0}, rolling)
        waits.append(drain.tasks[0].arguments["wait"])
    assert waits == [30, 300]


def test_a_member_is_asked_before_anything_happens_to_it_and_the_one_in_use_comes_last() -> None:
    assert steps(change("n1", "db"), change("n2", "db"), in_use={"db": ("n1",)}) == [
        "check that the cluster can lose db at n2",
        "drain db/n2 in HAProxy at n1,n2,n3 (goes on)",
        "replace db at n2 by 1 (goes on)",
        "enable db/n2 in HAProxy at n1,n2,n3 (goes on)",
        "check that the cluster can lose db at n1",
        "drain db/n1 in HAProxy at n1,n2,n3 (goes on)",
        "replace db at n1 by 1 (goes on)",
        "enable db/n1 in HAProxy at n1,n2,n3 (goes on)",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # what does not stop is not drained
        ((change("n1", "web_api", Kind.RELOAD), change("n2", "web_api", Kind.RELOAD)), ["reload web_api at n1,n2"]),
        ((change("n1", "web_api", Kind.CREATE),), ["create web_api at n1"]),
        # a container behind no load balancer, one host after the other; of compute hosts as many as the region says
        ((change("n1", "web_worker"), change("n2", "web_worker")), ["replace web_worker at n1,n2 by 1"]),
        ((change("n1", "agent"), change("n2", "agent")), ["replace agent at n1,n2 by 5"]),
        # and the next ones wait until Nova hears of these
        (
            tuple(change(f"c{n}", "compute") for n in range(1, 8)),
            [
                "replace compute at c1,c2,c3,c4,c5 by 5", "wait for nova-compute to report at localhost",
                "replace compute at c6,c7 by 5", "wait for nova-compute to report at localhost",
            ],
        ),
        # the one that tells of a server's health takes it out, too
        (
            (change("n1", "db_check", Kind.RESTART),),
            [
                "drain db/n1 in HAProxy at n1,n2,n3", "restart db_check at n1 by 1 (goes on)",
                "enable db/n1 in HAProxy at n1,n2,n3 (goes on)",
            ],
        ),
        # members that are missing come first: the others' gates need them
        (
            (change("n1", "web_worker"), change("n2", "web_worker", Kind.CREATE)),
            ["create web_worker at n2", "replace web_worker at n1 by 1"],
        ),
    ],
)  # fmt: skip
def test_order(changes: tuple[Change, ...], expected: list[str]) -> None:
    assert steps(*changes) == expected


def test_disks_of_a_host_are_asked_and_changed_one_after_the_other() -> None:
    disks = ("disk_a", "disk_b")
    rolling = MOVING.model_copy(update={"gated": frozenset({"db", *disks}), "alone": frozenset(disks)})
    changes = tuple(change(host, c) for host in ("n1", "n2") for c in ("disk", *disks))
    plays = playbook.plays(Plan(changes=changes), {"disk": 0}, rolling)
    found = [
        (p.hosts[0], [f"{a['action']} {a['container']}" for t in p.tasks for a in t.arguments.get("actions", ())])
        for p in plays
        if p.kind in (PlayKind.GATE, PlayKind.ROLL)
    ]
    one = [["replace disk"], *([f"{verb} {disk}"] for disk in disks for verb in ("gate", "replace"))]
    assert found == [(host, actions) for host in ("n1", "n2") for actions in one]


@pytest.mark.parametrize(
    ("subject", "backends", "expected"),
    [
        # drained: nobody sends to it any more
        ("db", (API, DATABASE), [True]),
        # a single one: nobody could take over
        ("db", (), [None]),
        # behind no load balancer: its clients know all members
        ("raft", (), [True]),
        ("web_worker", (), [None]),
    ],
)
def test_a_member_leaves_before_it_stops(subject: str, backends: tuple[Backend, ...], expected: list[Any]) -> None:
    moving = MOVING.model_copy(update={"backends": backends, "gated": {"db", "raft"}, "undrained": {"raft"}})
    plays = playbook.plays(Plan(changes=(change("n1", subject),)), {"db": 0, "raft": 0, "web": 0}, moving)
    actions = [
        a
        for p in playbook.render(plays)
        for t in p["tasks"]
        for a in t.get("scs.core.containers", {}).get("actions", ())
    ]
    assert [a.get("leave") for a in actions if a["action"] == "replace"] == expected


def test_members_that_leave_by_themselves(three: Region) -> None:
    assert Rolling.of(three).undrained == {"ceph_mgr", "ovn_nb", "ovn_sb"}


def test_what_the_operator_drained_stays_out() -> None:
    assert steps(change("n1", "web_api"), drained=("n1",)) == ["replace web_api at n1 by 1"]


def test_after_a_failure_the_load_balancers_judge_again_themselves() -> None:
    plays = playbook.plays(Plan(changes=(change("n1", "web_api"), change("n2", "db"))), {"db": 0, "web": 1}, MOVING)
    (drained,) = (p for p in plays if p.drain and p.drain.server == "n1")
    (again,) = playbook.render(playbook.reenable(drained, without=["n3"]))
    assert again["hosts"] == "n1,n2"
    assert again["tasks"][0]["scs.core.balancer"] == {"server": "n1", "states": {"web": "ready"}}
    # what was drained last is used again already, or nothing was drained
    assert playbook.reenable(None) == []
    assert playbook.reenable(drained, without=HOSTS) == []


def host(name: str, **fields: Any) -> HostPlan:
    return HostPlan(**{"host": name, "changes": (), **fields})


def forced(backend: str, state: str = "drain", server: str = "n2") -> tuple[ForcedServer, ...]:
    return (ForcedServer(backend=backend, server=server, state=state),)


def down(backend: str, *servers: str) -> tuple[BackendServer, ...]:
    return tuple(BackendServer(backend=backend, server=s) for s in servers)


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ([host("n1", forced=forced("web")), host("n2")], [("n1", "web/n2")]),
        # a wish of the operator
        ([host("n1", forced=forced("web")), host("n2", drained=True)], []),
        # this very plan takes it back
        ([host("n1", forced=forced("web")), host("n2", changes=(change("n2", "web_api"),))], []),
        # it rolls another container of the service, which is behind no load balancer
        (
            [host("n1", forced=forced("web")), host("n2", changes=(change("n2", "web_worker"),))],
            [("n1", "web/n2")],
        ),
        # somebody else's backend
        ([host("n1", forced=forced("other", "maint"))], []),
    ],
)
def test_servers_that_an_interrupted_run_left_out_come_back(
    hosts: list[HostPlan], found: list[tuple[str, str]]
) -> None:
    changes = leftovers(hosts, MOVING)
    assert [(c.host, c.subject) for c in changes] == found
    if changes:
        (play,) = playbook.render(playbook.plays(Plan(changes=tuple(changes)), {"web": 0}, MOVING))
        assert play["hosts"] == "n1"
        assert play["tasks"][0]["scs.core.balancer"] == {"server": "n2", "states": {"web": "ready"}}


def test_servers_of_an_evacuated_host_stay_out() -> None:
    assert leftovers([host("n1", forced=forced("web")), host("n2")], MOVING, evacuated=("n2",)) == []
    assert Plan(changes=(), drained=("n1",), evacuated=("n2",)).out_of_use == ("n1", "n2")


def test_no_server_leaves_before_one_that_was_left_out_is_back() -> None:
    back = leftovers([host("n1", forced=forced("web")), host("n2")], MOVING)
    plan = assemble([], [change("n3", "web_api"), *back], {"web": 1}, frozenset({"web"}))
    assert steps(*plan.changes)[:2] == ["enable web/n2 in HAProxy at n1", "drain web/n3 in HAProxy at n1,n2,n3"]


@pytest.mark.parametrize(
    ("hosts", "in_use"),
    [
        ([host("n1", used={"db": "n2"}), host("n2", addresses=("10.0.0.5",))], {"db": ("n2",), "haproxy": ("n2",)}),
        ([host("n1", used={"db": "n2"}, down=down("db", "n2", "n1"))], {"db": ("n3",)}),
        ([host("n1", down=down("web", "n1", "n3")), host("n2")], {"web": ("n2",)}),
        # two addresses, two hosts
        (
            [host("n1", addresses=("10.0.0.5",)), host("n2"), host("n3", addresses=("10.0.0.6",))],
            {"haproxy": ("n1", "n3")},
        ),
        ([host("n1"), host("n2")], {}),
    ],
)
def test_who_comes_last(hosts: list[HostPlan], in_use: dict[str, tuple[str, ...]]) -> None:
    assert hosts_in_use(hosts, MOVING.backends, {"haproxy": ("10.0.0.5", "10.0.0.6")}) == in_use


def test_every_api_of_three_control_hosts_is_drained_and_every_voter_asked(three: Region) -> None:
    found = Rolling.of(three)
    http = {n for s in three.catalog.services.values() for n, e in s.endpoints.items() if e.protocol == "http"}
    assert {b.name for b in found.backends} == http | {"database"}
    voters = {s.name for s in three.catalog.services.values() if s.quorum}
    assert {three.catalog.owner[c] for c in found.gated} == voters
    assert "nova_compute" in found.computes


def test_one_control_host_drains_nothing(testbed: Region) -> None:
    assert Rolling.of(testbed).backends == ()


def test_what_the_operator_stops_stops_also_as_the_last_of_its_cluster() -> None:
    assert steps(change("n1", "db", Kind.STOP), change("n2", "db", Kind.STOP)) == [
        "stop db at n1,n2 by 1",
    ]
    assert steps(change("n3", "web_api", Kind.STOP)) == ["stop web_api at n3 by 1"]


@pytest.mark.parametrize(
    ("region", "changes", "missed"),
    [
        ("testbed", [("testbed-1", "keystone", Kind.RESTART)], ("keystone",)),
        ("testbed", [("testbed-1", "keystone", Kind.CREATE)], ()),
        ("testbed", [("testbed-1", "haproxy", Kind.RELOAD)], ()),
        ("testbed", [("testbed-1", "gone_from_the_catalog", Kind.REMOVE)], ()),
        # one after the other
        ("testbed-ha", [(f"ha-{n}", "keystone", Kind.RESTART) for n in (1, 2, 3)], ()),
        ("testbed-ha", [("ha-1", "keystone", Kind.STOP)], ()),
        ("testbed-ha", [(f"ha-{n}", "keystone", Kind.STOP) for n in (1, 2, 3)], ("keystone",)),
    ],
)
def test_what_users_miss(region: str, changes: list[tuple[str, str, Kind]], missed: tuple[str, ...]) -> None:
    made = [change(host, subject, kind).model_copy(update={"impact": Impact.API}) for host, subject, kind in changes]
    assert unavailable(made, dummy_region(region).members) == missed
