# SPDX-License-Identifier: Apache-2.0
"""Which raft servers leave and join OVN's clusters, and when one is rebuilt. Texts were captured."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import Recovery
from scs_deploy.clusters.raft.procedure import member
from scs_deploy.clusters.raft.recovery import File, Member, RaftOptions, Server, decide, host_address, parse_status
from scs_deploy.engine.remote import Answer
from scs_deploy.engine.remote import ContainerState as State

STATUS = """958b
Name: OVN_Northbound
Cluster ID: a2ac (a2accd39-740d-4819-8b61-ff741cb4cf5d)
Server ID: 958b (958b5bd8-9694-4d0c-bf51-69aa6ff87999)
Address: ssl:172.30.2.11:6643
Status: cluster member
Role: leader
Term: 2
Leader: self
Vote: self

Last Election won: 1132530 ms ago
Election timer: 4000
Log: [2, 14]
Entries not yet committed: 0
Entries not yet applied: 0
Connections: <-0775 ->0775 <-bdd0 ->bdd0
Disconnections: 0
Servers:
    958b (958b at ssl:172.30.2.11:6643) (self) next_index=3 match_index=13
    bdd0 (bdd0 at ssl:172.30.2.13:6643) next_index=14 match_index=13 last msg 1300 ms ago
    0775 (0775 at ssl:172.30.2.12:6643) next_index=14 match_index=13 last msg 1300 ms ago
"""

HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
SERVERS = {f"{h}{h}{h}{h}": f"ssl:{address}:6643" for h, address in HOSTS.items()}
STALE = {"0ddd": "ssl:10.0.0.3:6643"}


def serving(host: str, leader: str = "aaaa", servers: dict[str, str] = SERVERS, **more: Any) -> Member:
    role = "leader" if leader == host * 4 else "follower"
    server = {"sid": host * 4, "status": "cluster member", "role": role, "term": 3, "log": 20, "servers": servers}
    values = {"container": State.RUNNING, "file": File.PRESENT, "file_sid": host * 4, "address": HOSTS[host]}
    leads = {"leader": "self" if role == "leader" else leader}
    return Member.model_validate({"host": host, **values, "server": Server.model_validate({**server, **leads}), **more})


def down(host: str, **more: Any) -> Member:
    values = {"container": State.STOPPED, "file": File.PRESENT, "file_sid": host * 4, "address": HOSTS[host]}
    return Member.model_validate({"host": host, **values, **more})


def lost(host: str, **more: Any) -> Member:
    return down(host, **{"file": File.MISSING, "file_sid": "", **more})


def away(host: str) -> Member:
    return Member(host=host, address=HOSTS[host], container=State.UNREACHABLE, why="Connection timed out")


def plan(*members: Member, **options: Any) -> Recovery:
    healthy = tuple(serving(h) for h in "abc") if options.get("source") is None else members
    return decide({"ovn_nb": members, "ovn_sb": healthy}, RaftOptions(**options))


def done(found: Recovery) -> list[str]:
    """`action host,host target` of every step."""
    return [f"{s.action} {','.join(s.hosts)} {s.target}".strip() for s in found.steps]


def test_status_of_a_real_server_is_read() -> None:
    found = parse_status(STATUS)
    assert found
    assert (found.sid, found.status, found.role, found.term, found.leader, found.log) == (
        "958b", "cluster member", "leader", 2, "self", 14,
    )  # fmt: skip
    assert found.servers == {
        "958b": "ssl:172.30.2.11:6643", "bdd0": "ssl:172.30.2.13:6643", "0775": "ssl:172.30.2.12:6643",
    }  # fmt: skip
    assert parse_status("ovs-appctl: cannot connect to ...: Connection refused") is None
    assert [host_address(u) for u in ("ssl:172.30.2.11:6643", "ssl:[fd00::1]:6643", "x")] == [
        "172.30.2.11",
        "fd00::1",
        "",
    ]


@pytest.mark.parametrize(
    ("status", "files", "file", "sid"),
    [
        (0, (0, "958b5bd8-9694-4d0c-bf51-69aa6ff87999\n"), File.PRESENT, "958b"),
        (0, (0, "missing\n"), File.MISSING, ""),
        (0, (0, "15c3ef73-0f1c-4e0f-8bd0-7ef7cd7e8d4a\njoining\n"), File.JOINING, ""),
        (-1, (1, "ovsdb-tool: ovsdb error: /var/lib/ovn/ovnnb_db.db: 5000 bytes: cksum"), File.DAMAGED, ""),
        # the last record of a file that is being written may be half a record
        (0, (1, "958b5bd8-9694-4d0c-bf51-69aa6ff87999\novsdb-tool: error parsing"), File.PRESENT, "958b"),
        (-1, (1, "958b5bd8-9694-4d0c-bf51-69aa6ff87999\novsdb-tool: error parsing"), File.TORN, "958b"),
        (-1, (-1, "No such image"), File.UNKNOWN, ""),
    ],
)
def test_member_from_answers(status: int, files: tuple[int, str], file: File, sid: str) -> None:
    said = (
        Answer(code=0, output=STATUS)
        if status == 0
        else Answer(code=-1, output="container 12 is not running", container=State.STOPPED)
    )
    found = member("a", "172.30.2.11", said, Answer(code=files[0], output=files[1]))
    assert (found.file, found.file_sid) == (file, sid)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([serving("a"), serving("b"), serving("c")], []),
        ([serving("a"), serving("b"), away("c")], []),
        ([serving("a"), serving("b"), down("c")], ["start c"]),
        ([serving("a"), serving("b"), down("c", container=State.RUNNING)], ["start c"]),
        # its server is still counted: it leaves, so that two of two and not two of three are a quorum
        ([serving("a"), serving("b"), lost("c")], ["stop c", "kick a cccc", "rejoin c"]),
        ([serving("a"), serving("b"), lost("c", container=State.ABSENT)], ["kick a cccc", "rejoin c"]),
        (
            [serving("a"), serving("b"), down("c", file=File.DAMAGED, file_sid="")],
            ["stop c", "kick a cccc", "rejoin c"],
        ),
        # beside a quorum a file that cannot be read to its end is not trusted; without one it is tried
        ([serving("a"), serving("b"), down("c", file=File.TORN)], ["stop c", "kick a cccc", "rejoin c"]),
        ([down("a", file=File.TORN), down("b", file=File.TORN), lost("c")], ["start a,b"]),
        # it works from memory, and would not come back
        ([serving("a"), serving("b"), serving("c", file=File.MISSING)], ["stop c", "kick a cccc", "rejoin c"]),
        # an id that the cluster does not know any more
        ([serving("a"), serving("b"), down("c", file_sid="0bad")], ["stop c", "kick a cccc", "rejoin c"]),
        # it joined anew by itself; the server that it was still counts
        ([serving(h, servers=SERVERS | STALE) for h in "abc"], ["kick a 0ddd"]),
        # of a host that is no member
        ([serving(h, servers=SERVERS | {"0eee": "ssl:10.0.0.9:6643"}) for h in "abc"], ["kick a 0eee"]),
        # all stopped, or two: enough for a quorum
        ([down("a"), down("b"), down("c")], ["start a,b,c"]),
        ([down("a"), down("b"), lost("c")], ["start a,b"]),
        ([serving("a", leader="unknown"), down("b"), away("c")], ["start a,b"]),
    ],
)
def test_steps(members: list[Member], expected: list[str]) -> None:
    assert done(plan(*members)) == expected


def test_a_leader_that_lost_its_file_steps_down_first() -> None:
    found = plan(serving("a", file=File.MISSING), serving("b"), serving("c"))
    assert (done(found), found.partial) == (["stop a"], True)


def test_an_unreachable_member_stays_one_until_that_is_given_up() -> None:
    found = plan(serving("a"), serving("b"), away("c"))
    assert any("c is not reachable" in w for w in found.warnings)
    assert done(plan(serving("a"), serving("b"), away("c"), without=("c",))) == ["kick a cccc", "kick a cccc"]


def test_a_lost_quorum_is_rebuilt_from_the_named_member() -> None:
    members = (serving("a", leader="unknown"), lost("b"), away("c"))
    found = decide({"ovn_nb": members, "ovn_sb": tuple(serving(h) for h in "abc")}, RaftOptions(source="a"))
    assert done(found) == ["stop a,b", "rebuild a", "rejoin b", "reset_clients a"]
    assert any("lost" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ((serving("a", leader="unknown"), lost("b"), lost("c")), {}, "--from HOST, one of: a (log to 20)"),
        ((serving("a", leader="unknown"), away("b"), away("c")), {}, "a quorum is 2"),
        # new files of servers that wait to be taken in are no data
        ((serving("a", leader="unknown"), lost("b", file=File.JOINING), lost("c", file=File.JOINING)), {}, "1 of 3"),
        ((lost("a"), lost("b"), lost("c")), {}, "restore a backup"),
        ((lost("a"), lost("b"), down("c")), {"source": "a"}, "a has no data"),
        ((down("a"), down("b"), lost("c")), {"source": "a"}, "leave --from out"),
        (tuple(serving(h) for h in "abc"), {"source": "a"}, "leave --from out"),
        (tuple(serving(h) for h in "abc"), {"source": "z"}, "no member on 'z'"),
    ],
)
def test_what_would_lose_changes_is_refused(members: tuple[Member, ...], options: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        decide({"ovn_nb": members, "ovn_sb": tuple(serving(h) for h in "abc")}, RaftOptions(**options))
    assert said in str(refused.value)


def test_both_databases_are_recovered_in_one_go() -> None:
    one, other = (serving("a"), serving("b"), lost("c")), (serving("a"), down("b"), serving("c"))
    found = decide({"ovn_nb": one, "ovn_sb": other}, RaftOptions())
    assert [(s.container, s.action) for s in found.steps] == [
        ("ovn_nb", "stop"), ("ovn_nb", "kick"), ("ovn_nb", "rejoin"), ("ovn_sb", "start"),
    ]  # fmt: skip
    assert [(m["database"], m["host"]) for m in found.members][:4] == [
        ("ovn_nb", "a"), ("ovn_nb", "b"), ("ovn_nb", "c"), ("ovn_sb", "a"),
    ]  # fmt: skip
