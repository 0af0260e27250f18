# SPDX-License-Identifier: Apache-2.0
"""Which member of a Galera cluster is bootstrapped, which joins, and what is refused. Texts were captured."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import Recovery
from scs_deploy.clusters.galera.procedure import member
from scs_deploy.clusters.galera.recovery import (
    NOBODY,
    Data,
    GaleraOptions,
    Member,
    decide,
    parse_grastate,
    parse_position,
    parse_status,
    parse_view,
    settling,
)
from scs_deploy.engine.remote import Answer
from scs_deploy.engine.remote import ContainerState as State

U = "31623b3f-e576-11f1-a03c-e6a0d63e2e44"
V = "5f4db2f8-e57c-11f1-bd71-afbe1e4a4896"

GRASTATE = f"""# GALERA saved state
version: 2.1
uuid:    {U}
seqno:   -1
safe_to_bootstrap: 0
"""

GVWSTATE = """my_uuid: 3161e95c-e576-11f1-a18e-bac9f7ca7216
#vwbeg
view_id: 3 3161e95c-e576-11f1-a18e-bac9f7ca7216 3
bootstrap: 0
member: 3161e95c-e576-11f1-a18e-bac9f7ca7216 0
member: 318b8a8a-e576-11f1-9ecd-2a53d2199ad1 0
member: 31a11e02-e576-11f1-9735-a7676ace199e 0
#vwend
"""

LOG = """2026-11-21  7:22:47 0 [Note] InnoDB: log sequence number 19725264; transaction id 4711
2026-11-21  7:22:47 0 [Note] Plugin 'FEEDBACK' is disabled.
2026-11-21  7:22:47 0 [Note] Server socket created on IP: '172.30.2.11', port: '3306'.
2026-11-21  7:22:47 0 [Note] WSREP: Recovered position: 5f4db2f8-e57c-11f1-bd71-afbe1e4a4896:100
"""

STATUS = f"""wsrep_last_committed\t3443
wsrep_local_state_comment\tSynced
wsrep_cluster_size\t3
wsrep_cluster_state_uuid\t{U}
wsrep_cluster_status\tPrimary
"""


def stopped(host: str, seqno: int | None, uuid: str = U, **more: Any) -> Member:
    """A member whose position is known because it is stopped."""
    values = {
        "container": State.STOPPED,
        "data": Data.PRESENT,
        "source": "recovered",
        "size_bytes": 1,
        "free_bytes": 9,
    }
    return Member.model_validate({"host": host, "uuid": uuid, "seqno": seqno, **values, **more})


def primary(host: str, size: int = 3, **more: Any) -> Member:
    values = {
        "container": State.RUNNING,
        "status": "Primary",
        "state": "Synced",
        "size": size,
        "data": Data.PRESENT,
    }
    return Member.model_validate({"host": host, "uuid": U, "seqno": 90, **values, **more})


def away(host: str) -> Member:
    return Member(host=host, container=State.UNREACHABLE, why="Connection timed out")


def done(found: Recovery) -> list[str]:
    """`action host,host` of every step."""
    return [f"{s.action} {','.join(s.hosts)}" for s in found.steps]


def test_files_and_outputs_of_real_servers_are_read() -> None:
    assert parse_grastate(GRASTATE) == (U, -1, False)
    assert parse_grastate(GRASTATE.replace("seqno:   -1", "seqno:   1728").replace("bootstrap: 0", "bootstrap: 1")) == (
        U,
        1728,
        True,
    )
    assert parse_grastate(GRASTATE.replace(U, NOBODY)) == ("", -1, False)
    assert parse_grastate("") == parse_grastate("garbage\x00") == ("", -1, False)
    assert parse_view(GVWSTATE) == 3
    assert parse_position(LOG) == (V, 100)
    assert parse_position("InnoDB: Database page corruption on disk\n") is None
    assert parse_status(STATUS)["wsrep_cluster_state_uuid"] == U


@pytest.mark.parametrize(
    ("status", "files", "expected"),
    [
        (
            Answer(code=0, output=STATUS),
            Answer(code=0, output=f"== grastate.dat\n{GRASTATE}== gvwstate.dat\n{GVWSTATE}== data\n"),
            {
                "container": State.RUNNING,
                "primary": True,
                "uuid": U,
                "seqno": 3443,
                "source": "status",
                "view": 3,
            },
        ),
        (
            Answer(code=1, output="ERROR 2002 (HY000): Can't connect to server on '172.30.2.11' (115)"),
            Answer(code=0, output=f"== grastate.dat\n{GRASTATE}== gvwstate.dat\n== data\n"),
            {"container": State.RUNNING, "status": "", "uuid": U, "seqno": None, "data": Data.PRESENT},
        ),
        (
            Answer(code=-1, output="container 8723967c2973 is not running", container=State.STOPPED),
            Answer(code=0, output="== grastate.dat\n== gvwstate.dat\n"),
            {"container": State.STOPPED, "data": Data.EMPTY, "uuid": ""},
        ),
        (
            Answer(code=-1, output="Container 8723967c is restarting", container=State.RESTARTING),
            Answer(code=0, output="== grastate.dat\n== gvwstate.dat\n== data\n"),
            {"container": State.RESTARTING, "data": Data.PRESENT},
        ),
        (
            Answer(code=-1, output="No such container: mariadb", container=State.ABSENT),
            Answer(code=-1, output="No such image: scs/mariadb"),
            {"container": State.ABSENT, "data": Data.UNKNOWN, "why": "No such image: scs/mariadb"},
        ),
        (
            Answer(
                code=-1,
                output="no answer from the Docker engine at /var/run/docker.sock: refused",
                container=State.UNREACHABLE,
            ),
            Answer(code=-1, output="no answer from the Docker engine at /var/run/docker.sock: refused"),
            {"container": State.UNREACHABLE},
        ),
    ],
)
def test_member_from_answers(status: Answer, files: Answer, expected: dict[str, Any]) -> None:
    found = member("a", status, files)
    assert {k: getattr(found, k) for k in expected} == expected


@pytest.mark.parametrize(
    ("members", "options", "expected"),
    [
        # the newest, whoever it is; then every other one, one at a time
        ([stopped("a", 5), stopped("b", 9), stopped("c", 7)], {}, ["copy a,b,c", "bootstrap b", "join a", "join c"]),
        # equal: the one that left last, else by name
        ([stopped("a", 9), stopped("b", 9, safe=True)], {}, ["copy a,b", "bootstrap b", "join a"]),
        ([stopped("b", 9), stopped("a", 9)], {}, ["copy a,b", "bootstrap a", "join b"]),
        # safe_to_bootstrap is a hint: writes count more
        ([stopped("a", 9), stopped("b", 8, safe=True)], {}, ["copy a,b", "bootstrap a", "join b"]),
        # a member without data cannot be ahead
        ([stopped("a", None, "", data=Data.EMPTY), stopped("b", 3)], {}, ["copy b", "bootstrap b", "join a"]),
        # a lost one is given up when that is spelled out, and is not touched
        ([stopped("a", 3), stopped("b", 4), away("c")], {"without": ("c",)}, ["copy a,b", "bootstrap b", "join a"]),
        # a named member wins over newer data and over another history
        ([stopped("a", 3), stopped("b", 4)], {"bootstrap_from": "a"}, ["copy a,b", "bootstrap a", "join b"]),
        ([stopped("a", 3), stopped("b", 4, V)], {"bootstrap_from": "a"}, ["copy a,b", "bootstrap a", "join b"]),
        ([stopped("a", 3), stopped("b", None)], {"bootstrap_from": "a"}, ["copy a,b", "bootstrap a", "join b"]),
        # no room, no copy
        ([stopped("a", 3, free_bytes=0), stopped("b", 4)], {}, ["copy b", "bootstrap b", "join a"]),
        ([stopped("a", 3), stopped("b", 4)], {"copies": False}, ["bootstrap b", "join a"]),
    ],
)
def test_after_a_full_outage_the_newest_data_is_bootstrapped(
    members: list[Member], options: dict[str, Any], expected: list[str]
) -> None:
    found = decide(members, GaleraOptions(**options))
    assert done(found)[0].startswith("stop "), "nothing may start a member meanwhile"
    assert done(found)[1:] == expected
    assert not found.partial


def test_members_that_run_without_a_quorum_are_stopped_before_their_positions_count() -> None:
    looping = stopped("a", None, container=State.RESTARTING)
    alone = Member(
        host="b",
        container=State.RUNNING,
        status="non-Primary",
        state="Initialized",
        uuid=U,
        seqno=9,
        data=Data.PRESENT,
    )
    found = decide([looping, alone, stopped("c", 12)], GaleraOptions())
    assert (done(found), found.partial) == (["stop a,b"], True)
    assert "c" in found.summary
    assert f"{U}:12" in found.summary


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([stopped("b", None), stopped("c", None)], ["join b", "join c"]),
        ([stopped("b", None, container=State.RESTARTING)], ["stop b", "join b"]),
        ([stopped("b", None, "", data=Data.EMPTY, container=State.ABSENT)], ["join b"]),
        # it copies the whole database just now: nobody may interrupt that
        ([primary("b", size=2, state="Joiner")], ["wait b"]),
        # data of another history is replaced, and kept
        ([stopped("b", 7, V)], ["copy b", "join b"]),
        ([away("b")], []),
    ],
)
def test_beside_a_quorum_the_others_join(others: list[Member], expected: list[str]) -> None:
    size = 1 + sum(m.primary for m in others)
    assert done(decide([primary("a", size), *others], GaleraOptions())) == expected


def test_a_copy_that_is_under_way_is_waited_for() -> None:
    donor = primary("a", 2, state="Donor/Desynced")
    receiver = Member(host="b", container=State.RUNNING, data=Data.EMPTY)
    assert done(decide([donor, receiver], GaleraOptions())) == ["wait b"]
    assert done(decide([primary("a", 1), receiver], GaleraOptions())) == ["stop b", "join b"]


def test_nothing_to_do_when_all_are_synchronised() -> None:
    found = decide([primary("a"), primary("b"), primary("c")], GaleraOptions())
    assert done(found) == []
    assert "Primary" in found.summary
    assert [m["host"] for m in found.members] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ([stopped("a", 3), stopped("b", 4, V)], {}, "have different histories"),
        ([stopped("a", 3), away("c")], {}, "--without c"),
        ([stopped("a", 3), stopped("b", None, why="page corruption")], {}, "page corruption"),
        ([stopped("a", None, "", data=Data.EMPTY)], {}, "no member of mariadb has data"),
        ([away("a"), away("b")], {}, "no member of mariadb is reachable"),
        ([primary("a"), primary("b", uuid=V), primary("c", uuid=V)], {}, "more than one cluster"),
        ([primary("a", 1), primary("b", 1)], {}, "a counts 1"),
        ([primary("a", uuid=NOBODY), primary("b", uuid=NOBODY)], {}, "without a history"),
        ([primary("a"), primary("b"), primary("c")], {"bootstrap_from": "a"}, "nothing to bootstrap"),
        ([stopped("a", 3)], {"bootstrap_from": "z"}, "no member on 'z'"),
        ([stopped("a", 3)], {"without": ("z",)}, "no member on 'z'"),
        ([stopped("a", 3), stopped("b", 3)], {"bootstrap_from": "a", "without": ("a",)}, "both"),
        (
            [stopped("a", 3), stopped("b", None, "", data=Data.EMPTY)],
            {"bootstrap_from": "b"},
            "no data to bootstrap from",
        ),
    ],
)
def test_what_would_lose_data_is_refused(members: list[Member], options: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        decide(members, GaleraOptions(**options))
    assert said in str(refused.value)


def test_clusters_beside_each_other_are_stopped_once_a_member_is_named() -> None:
    found = decide([primary("a", 1), primary("b", 1, uuid=V)], GaleraOptions(bootstrap_from="b"))
    assert (done(found), found.partial) == (["stop a,b"], True)


def test_losses_are_told_before_they_happen() -> None:
    behind = decide([stopped("a", 3), stopped("b", 9)], GaleraOptions(bootstrap_from="a"))
    assert any("b is ahead of a: 6 write sets will be lost" in w for w in behind.warnings)
    other = decide([stopped("a", 3), stopped("b", 9, V)], GaleraOptions(bootstrap_from="a"))
    assert any("another history" in w for w in other.warnings)
    left = decide([stopped("a", 3), away("b")], GaleraOptions(without=("b",)))
    assert any("b left out" in w for w in left.warnings)
    full = decide([stopped("a", 3, size_bytes=9 << 20, free_bytes=1 << 20)], GaleraOptions())
    assert any("needs 9 MiB, but 1 MiB are free" in w for w in full.warnings)


def test_who_starts_is_given_time() -> None:
    starting = Member(host="b", container=State.RUNNING)
    assert "b" in settling([primary("a"), starting])
    assert settling([primary("a"), stopped("b", 3), away("c")]) == ""
