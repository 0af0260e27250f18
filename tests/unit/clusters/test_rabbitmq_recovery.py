# SPDX-License-Identifier: Apache-2.0
"""Which members of a broker cluster start, which rejoin, and what is refused. Texts were captured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import Recovery
from scs_deploy.clusters.rabbitmq.procedure import member
from scs_deploy.clusters.rabbitmq.recovery import (
    Data,
    Member,
    Queues,
    RabbitmqOptions,
    decide,
    nodes_in,
    parse_queues,
    parse_status,
)
from scs_deploy.engine.remote import Answer
from scs_deploy.engine.remote import ContainerState as State

STATUS = json.dumps(
    {
        "alarms": [],
        "disk_nodes": ["rabbit@ha-1", "rabbit@ha-2", "rabbit@ha-3"],
        "ram_nodes": [],
        "running_nodes": ["rabbit@ha-3", "rabbit@ha-1"],
        "partitions": {},
    }
)
NODES = "{['rabbit@ha-1','rabbit@ha-2','rabbit@ha-3'],['rabbit@ha-1','rabbit@ha-2','rabbit@ha-3']}.\n"
SHUTDOWN = "['rabbit@ha-1','rabbit@ha-3'].\n"
ALL = frozenset("abc")


def up(host: str, sees: str = "abc", **more: Any) -> Member:
    values = {"container": State.RUNNING, "up": True, "cluster": ALL, "data": Data.PRESENT}
    return Member.model_validate({"host": host, "sees": frozenset(sees), **values, **more})


def down(host: str, last: str = "abc", **more: Any) -> Member:
    values = {"container": State.STOPPED, "cluster": ALL, "data": Data.PRESENT}
    return Member.model_validate({"host": host, "last_seen": frozenset(last), **values, **more})


def empty(host: str, **more: Any) -> Member:
    return down(host, "", **{"data": Data.EMPTY, "cluster": frozenset(), **more})


def away(host: str) -> Member:
    return Member(host=host, container=State.UNREACHABLE, why="Connection timed out")


def done(found: Recovery) -> list[str]:
    """`action host,host` of every step."""
    return [f"{s.action} {','.join(s.hosts)}" for s in found.steps]


def test_outputs_and_files_of_real_nodes_are_read() -> None:
    found = parse_status(STATUS)
    assert found["sees"] == {"ha-1", "ha-3"}
    assert found["cluster"] == {"ha-1", "ha-2", "ha-3"}
    assert nodes_in(SHUTDOWN) == {"ha-1", "ha-3"}
    files = f"== some\n== cluster_nodes.config\n{NODES}== nodes_running_at_shutdown\n{SHUTDOWN}== schema.DAT\n"
    seen = member(
        "ha-2",
        Answer(code=-1, output="container 87 is not running", container=State.STOPPED),
        Answer(code=0, output=files),
    )
    assert (seen.container, seen.data, seen.last_seen) == (State.STOPPED, Data.PRESENT, frozenset({"ha-1", "ha-3"}))
    assert seen.cluster == {"ha-1", "ha-2", "ha-3"}


@pytest.mark.parametrize(
    ("files", "data"),
    [("", Data.EMPTY), ("== some\n", Data.DAMAGED), (f"== some\n== cluster_nodes.config\n{NODES}", Data.DAMAGED)],
)
def test_data_without_which_no_node_knows_its_cluster(files: str, data: Data) -> None:
    assert member("a", Answer(code=0, output=STATUS), Answer(code=0, output=files)).data is data


def test_alarms_are_told() -> None:
    text = STATUS.replace('"alarms": []', '"alarms": [{"node": "rabbit@ha-1", "resource": "disk"}]')
    found = decide([up("a", alarms=("disk on ha-1",)), up("b"), up("c")], Queues(), RabbitmqOptions())
    assert parse_status(text)["alarms"] == ("disk on ha-1",)
    assert any("disk on ha-1" in w for w in found.warnings)


def test_replicas_of_queues() -> None:
    def queue(name: str, members: str, online: str, leader: str = "a", kind: str = "quorum") -> dict[str, Any]:
        nodes = {"members": [f"rabbit@{m}" for m in members], "online": [f"rabbit@{m}" for m in online]}
        return {"name": name, "type": kind, "leader": leader and f"rabbit@{leader}", **nodes}

    some = [queue("full", "abc", "abc"), queue("two", "ab", "ab"), queue("half", "abc", "ab")]
    lost = [queue("lost", "abc", "a", ""), queue("classic", "a", "a", kind="classic")]
    found = parse_queues([("nova", json.dumps(some)), ("neutron", json.dumps(lost)), ("/", "[]")], ["a", "b", "c"], 3)
    assert found == Queues(total=4, leaderless=("neutron: lost",), missing={"c": 1})
    grown = decide([up("a"), up("b"), up("c")], found, RabbitmqOptions())
    assert [(s.action, s.target) for s in grown.steps] == [("grow", "c")]
    assert any("neutron: lost" in w for w in grown.warnings)


@pytest.mark.parametrize(
    ("members", "options", "expected"),
    [
        ([up("a"), up("b"), up("c")], {}, []),
        # beside a majority: data is kept where it serves, else the member joins anew
        ([up("a", "ab"), up("b", "ab"), down("c")], {}, ["start c"]),
        ([up("a", "ab"), up("b", "ab"), empty("c")], {}, ["rejoin c"]),
        ([up("a", "ab"), up("b", "ab"), down("c", data=Data.DAMAGED)], {}, ["rejoin c"]),
        ([up("a", "ab"), up("b", "ab"), down("c", container=State.RUNNING)], {}, ["rejoin c"]),
        ([up("a", "ab"), up("b", "ab"), down("c", container=State.RESTARTING)], {}, ["rejoin c"]),
        # it still answers, but would not come back
        ([up("a"), up("b"), up("c", data=Data.EMPTY)], {}, ["rejoin c"]),
        # it was reset and made a cluster of its own
        ([up("a", "ab"), up("b", "ab"), up("c", "c", cluster=frozenset("c"))], {}, ["rejoin c"]),
        # cut off, and of the same cluster: it takes up what it missed
        ([up("a", "ab"), up("b", "ab"), up("c", "c")], {}, ["start c"]),
        ([up("a", "ab"), up("b", "ab"), away("c")], {}, []),
        # without a majority nothing is thrown away
        ([up("a", "a"), down("b", container=State.RUNNING), away("c")], {}, ["start b"]),
        # all stopped: together, since each waits for the last one
        ([down("a"), down("b"), down("c")], {}, ["start a,b,c"]),
        ([down("a", "a"), down("b"), empty("c")], {}, ["start a,b", "rejoin c"]),
        ([empty("a"), empty("b"), empty("c")], {}, ["rejoin a", "rejoin b", "rejoin c"]),
        (
            [down("a"), down("b"), empty("c")],
            {"force_boot": "b"},
            ["stop a,b,c", "force_boot b", "start a", "rejoin c"],
        ),
        ([down("a"), away("b"), away("c")], {"force_boot": "a"}, ["stop a", "force_boot a"]),
        ([up("a"), down("b"), up("c")], {"reset": True}, ["stop a,b,c", "rejoin a", "rejoin b", "rejoin c"]),
    ],
)
def test_steps(members: list[Member], options: dict[str, Any], expected: list[str]) -> None:
    assert done(decide(members, Queues(), RabbitmqOptions(**options))) == expected


@pytest.mark.parametrize(
    ("members", "options", "said"),
    [
        ([down("a"), down("b"), empty("c")], {}, "--force-boot a"),
        ([down("a"), down("b"), away("c")], {}, "wait for c"),
        # the one that ran longest lost least
        ([down("a"), down("b", "bc"), empty("c")], {}, "--force-boot b"),
        ([empty("a"), away("b"), away("c")], {}, "--without b"),
        ([up("a", "a"), up("b", "b"), up("c", "c")], {}, "no partition has a majority"),
        ([up("a"), up("b"), up("c")], {"force_boot": "a"}, "leave --force-boot out"),
        ([down("a"), empty("b")], {"force_boot": "b"}, "no data to boot from"),
        ([up("a", "ab"), up("b", "ab"), away("c")], {"reset": True}, "--without c"),
        ([away("a"), away("b")], {}, "no member of rabbitmq is reachable"),
        ([up("a")], {"without": ("z",)}, "no member on 'z'"),
    ],
)
def test_what_would_lose_state_is_refused(members: list[Member], options: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        decide(members, Queues(), RabbitmqOptions(**options))
    assert said in str(refused.value)


def test_empty_members_never_start_before_those_with_data() -> None:
    found = decide([empty("a"), down("b", "b"), down("c", "b")], Queues(), RabbitmqOptions())
    assert done(found) == ["start b,c", "rejoin a"]
    assert found.steps[1].target == "a,b,c"
