# SPDX-License-Identifier: Apache-2.0
"""Which monitors of Ceph start, join again or are forgotten, and when their store is rebuilt."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import Recovery
from scs_deploy.clusters.ceph.procedure import member
from scs_deploy.clusters.ceph.recovery import (
    CephOptions,
    Disks,
    Member,
    Store,
    decide,
    leftovers,
    settling,
    without_quorum,
)
from scs_deploy.clusters.ceph.view import Monitor
from scs_deploy.engine.remote import Answer
from scs_deploy.engine.remote import ContainerState as State

HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
DISKS = Disks(containers={"a": ("ceph_osd_x",), "b": ("ceph_osd_x", "ceph_osd_y")})
MAP = """monmaptool: monmap file /run/ceph/map
epoch 7
fsid 255d34d4-20da-40d3-818e-ce64139a24e3
last_changed 2026-11-30T01:49:30.000000+0000
created 2026-11-30T01:49:30.000000+0000
min_mon_release 20 (tentacle)
election_strategy: 1
0: v2:10.0.0.1:3300/0 mon.a
1: [v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0] mon.b
2: v2:[fd00::3]:3300/0 mon.c
"""


def serving(host: str, listed: dict[str, str] = HOSTS, **more: Any) -> Member:
    state = "leader" if host == "a" else "peon"
    own = Monitor(name=host, state=state, quorum=tuple(sorted(listed)), monitors=listed, epoch=3)
    values = {"container": State.RUNNING, "monitor": own, "store": Store.PRESENT, "listed": listed, "epoch": 3}
    return Member.model_validate({"host": host, **values, **more})


def down(host: str, **more: Any) -> Member:
    values = {"container": State.STOPPED, "store": Store.PRESENT, "listed": HOSTS, "epoch": 3}
    return Member.model_validate({"host": host, **values, **more})


def lost(host: str) -> Member:
    return down(host, store=Store.EMPTY, listed={}, epoch=0)


def alone(host: str) -> Member:
    """It runs, and finds no quorum."""
    own = Monitor(name=host, state="probing", quorum=(), monitors=HOSTS, epoch=3)
    return down(host, container=State.RUNNING, monitor=own)


def away(host: str) -> Member:
    return Member(host=host, container=State.UNREACHABLE, why="Connection timed out")


def plan(*members: Member, disks: Disks = DISKS, **options: Any) -> Recovery:
    return decide(members, disks, CephOptions(**options))


def done(found: Recovery) -> list[str]:
    """`action host,host target` of every step."""
    return [f"{s.action} {','.join(s.hosts)} {s.target}".strip() for s in found.steps]


@pytest.mark.parametrize(
    ("files", "store", "epoch"),
    [
        ((0, f"present\n{MAP}"), Store.PRESENT, 7),
        ((0, "present\n"), Store.PRESENT, 0),
        ((0, "empty\n"), Store.EMPTY, 0),
        ((0, "damaged\nCorruption: bad record\n"), Store.DAMAGED, 0),
        ((-1, "No such image"), Store.UNKNOWN, 0),
    ],
)
def test_member_from_answers(files: tuple[int, str], store: Store, epoch: int) -> None:
    stopped = Answer(code=-1, output="is not running", container=State.STOPPED)
    found = member("a", stopped, Answer(code=files[0], output=files[1]))
    assert (found.store, found.epoch) == (store, epoch)
    if epoch:
        assert found.listed == {"a": "10.0.0.1", "b": "10.0.0.2", "c": "fd00::3"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([serving("a"), serving("b"), serving("c")], []),
        ([serving("a"), serving("b"), down("c")], ["start c"]),
        ([serving("a"), serving("b"), alone("c")], ["start c"]),
        ([serving("a"), serving("b"), lost("c")], ["join c"]),
        ([serving("a"), serving("b"), down("c", store=Store.DAMAGED)], ["join c"]),
        # the others removed it: with its store it would end at once
        ([serving("a", {k: HOSTS[k] for k in "ab"}), serving("b"), down("c")], ["join c"]),
        ([serving("a"), serving("b"), away("c")], []),
        ([serving("a", {**HOSTS, "old": "10.0.0.9"}), serving("b"), serving("c")], ["forget a old"]),
        # none serves, and enough have their store
        ([down("a"), down("b"), down("c")], ["start a,b,c"]),
        ([alone("a"), down("b"), lost("c")], ["start a,b"]),
    ],
)
def test_what_brings_monitors_back(members: list[Member], expected: list[str]) -> None:
    assert done(plan(*members)) == expected


def test_who_is_lost_is_known_once_there_is_a_quorum() -> None:
    assert plan(down("a"), down("b"), lost("c")).partial
    assert not plan(down("a"), down("b"), down("c")).partial


def test_an_unreachable_monitor_is_forgotten_only_on_request() -> None:
    members = (serving("a"), serving("b"), away("c"))
    assert "--without c makes the cluster forget it" in plan(*members).warnings[0]
    found = plan(*members, without=("c",))
    assert done(found) == ["forget a c"]
    assert found.warnings == ()


def test_a_survivor_goes_on_alone_if_the_operator_says_so() -> None:
    members = (alone("a"), lost("b"), away("c"))
    with pytest.raises(RefusedError, match="1 of 3 monitors have their store, a quorum is 2") as refusal:
        plan(*members)
    assert "--from HOST, one of: a (map 3)" in (refusal.value.hint or "")
    found = plan(*members, source="a")
    assert done(found) == ["stop a,b", "alone a", "join b"]
    assert "run `scs recover ceph` when it is back" in found.warnings[1]


@pytest.mark.parametrize(
    ("members", "options", "why"),
    [
        ((serving("a"), serving("b"), lost("c")), {"source": "a"}, "Ceph has a quorum"),
        ((down("a"), down("b"), lost("c")), {"source": "a"}, "there is nothing to rebuild"),
        ((alone("a"), lost("b"), lost("c")), {"source": "b"}, "the monitor on b has no store"),
        ((alone("a"), lost("b"), lost("c")), {"from_osds": True}, "has its store, which knows more than OSDs do"),
        ((lost("a"), lost("b"), away("c")), {"from_osds": True}, "could not reach c"),
        ((lost("a"), lost("b"), lost("c")), {"source": "x"}, "has no member on 'x'"),
        ((away("a"), away("b"), away("c")), {}, "no monitor of Ceph is reachable"),
        ((lost("a"), lost("b"), lost("c")), {}, "0 of 3 monitors have their store"),
    ],
)
def test_what_is_refused(members: tuple[Member, ...], options: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        plan(*members, **options)


def test_every_osd_adds_what_it_knows() -> None:
    found = plan(lost("a"), lost("b"), lost("c"), from_osds=True)
    assert done(found) == [
        "stop a,b,c", "stop a,b", "stop b",
        "collect a", "collect b a/ceph_osd_x", "collect b b/ceph_osd_x",
        "rebuild a b/ceph_osd_y", "join b", "join c", "managers a,b,c", "begin a,b", "begin b",
    ]  # fmt: skip
    assert "keys of clients" in found.warnings[0]
    unreachable = Disks(containers=DISKS.containers, unreachable={"b": "timed out"})
    with pytest.raises(RefusedError, match=r"could not reach b \(timed out\)"):
        plan(lost("a"), lost("b"), lost("c"), disks=unreachable, from_osds=True)
    found = plan(lost("a"), lost("c"), disks=unreachable, from_osds=True, without=("b",))
    assert [s for s in done(found) if s.startswith(("collect", "rebuild"))] == ["collect a", "rebuild a a/ceph_osd_x"]


def test_a_monitor_that_has_yet_to_notice_is_no_quorum() -> None:
    """For seconds after the others ended, it says that it leads."""
    members = [without_quorum(m) for m in (serving("a"), lost("b"), lost("c"))]
    assert settling(members) == "waiting for the monitor on a"
    with pytest.raises(RefusedError, match="1 of 3 monitors have their store, a quorum is 2"):
        plan(*members)


def test_both_sources_contradict_each_other() -> None:
    with pytest.raises(RefusedError, match="--from has a monitor"):
        CephOptions(source="a", from_osds=True).check()


def test_noout_is_taken_back_unless_an_operator_keeps_the_host_out() -> None:
    assert leftovers({"a", "b"}, {"b"}) == ("a",)
    found = plan(serving("a"), serving("b"), serving("c"), disks=Disks(leftover=("b",)))
    assert done(found) == ["let_go a b"]
