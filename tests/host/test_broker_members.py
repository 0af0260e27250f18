# SPDX-License-Identifier: Apache-2.0
"""Three real brokers of RabbitMQ: what the gate says while one of them is unwell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_members import HOSTS, Members, members
from tests.support.peer_hosts import eventually

IMAGE = "scs/rabbitmq:2025.1"
CTL = ("rabbitmqctl", "--quiet")
QUEUE = """
Name = rabbit_misc:r(<<"/">>, queue, <<"q">>), Quorum = [{<<"x-queue-type">>, longstr, <<"quorum">>}],
rabbit_amqqueue:declare(Name, true, false, Quorum, none, <<"scs">>), ok.
"""

DEAD = """
Dead = rabbit_misc:r(<<"/">>, queue, <<"dead">>), Quorum = [{<<"x-queue-type">>, longstr, <<"quorum">>}],
{new, Queue} = rabbit_amqqueue:declare(Dead, true, false, Quorum, none, <<"scs">>),
{Name, _} = amqqueue:get_pid(Queue), Gone = [N || N <- rabbit_nodes:list_members(), N =/= node()],
[ra:force_delete_server(quorum_queues, {Name, N}) || N <- Gone], ok.
"""
"""As a broker leaves a queue that stops while it deletes it: on the others no member is left."""

pytestmark = needs(IMAGE)


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    folder = tmp_path_factory.mktemp("brokers")
    with members(dummy_region("testbed-ha"), "rabbitmq", IMAGE, folder) as cluster:
        for host in HOSTS:
            cluster.start(host)
        eventually(lambda: all(running(cluster, host) == 3 for host in HOSTS), 600)
        eventually(lambda: cluster.inside("ha-1", *CTL, "eval", QUEUE)[1] == "ok", 120)
        yield cluster


def running(cluster: Members, host: str) -> int:
    code, nodes = cluster.inside(host, "curl", "--config", "/etc/rabbitmq/nodes.curl")
    return 0 if code else nodes.count('"running":true')


def yes(cluster: Members, host: str) -> bool:
    return cluster.gate(host) == (0, "")


def queues(cluster: Members, host: str) -> set[str]:
    names = "[amqqueue:get_name(Q) || Q <- rabbit_amqqueue:list()]"
    eval_names = f"[io:format('~ts~n', [element(4, N)]) || N <- {names}], ok."
    return set(cluster.inside(host, *CTL, "eval", eval_names)[1].split()) - {"ok"}


def test_queues_without_a_majority_for_ever_are_removed(brokers: Members) -> None:
    assert brokers.inside("ha-3", *CTL, "eval", DEAD)[1] == "ok"
    assert queues(brokers, "ha-1") == {"q", "dead"}
    # the broker that held up the deletion goes; the others see that nothing is left
    brokers.stop("ha-3")
    eventually(lambda: queues(brokers, "ha-1") == {"q"}, 180)
    assert "removed dead queue 'dead' in vhost '/'" in brokers.log("ha-1") + brokers.log("ha-2")
    brokers.start("ha-3")
    eventually(lambda: running(brokers, "ha-3") == 3, 180)
    assert queues(brokers, "ha-3") == {"q"}
    assert brokers.inside("ha-3", *CTL, "eval", f"{QUEUE}")[1] == "ok"


def test_what_the_gate_says(brokers: Members) -> None:
    eventually(lambda: all(yes(brokers, host) for host in HOSTS), 120)
    # one has a memory alarm: it may go, and no other may
    brokers.inside("ha-2", *CTL, "set_vm_memory_high_watermark", "absolute", "1MB")
    eventually(lambda: brokers.gate("ha-1") == (1, "ha-2 has a memory alarm: 2 of 3 must work without it"), 180)
    assert brokers.inside("ha-2", "curl", "--config", "/etc/rabbitmq/health.curl")[0], "it is not healthy"
    assert yes(brokers, "ha-2")
    # with another one down, not even the unhealthy one
    brokers.stop("ha-3")
    eventually(lambda: "ha-3 does not answer" in brokers.gate("ha-2")[1])
    assert brokers.gate("ha-2")[0] == 1
    # one that says nothing is a member while the others count it
    brokers.inside("ha-2", *CTL, "set_vm_memory_high_watermark", "absolute", "1GB")
    brokers.inside("ha-2", *CTL, "eval", "application:stop(rabbitmq_management), ok.")
    assert brokers.gate("ha-2")[0] == 1
    brokers.start("ha-3")
    eventually(lambda: running(brokers, "ha-1") == 3, 120)
    eventually(lambda: yes(brokers, "ha-2"), 180)
    # its application stopped: the others no longer count it
    brokers.stop("ha-3")
    brokers.inside("ha-2", *CTL, "stop_app")
    assert yes(brokers, "ha-2")
