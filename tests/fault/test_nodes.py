# SPDX-License-Identifier: Apache-2.0
"""One node is lost: stopped, without power, frozen, cut off. Then it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from scs_deploy.region.region import Region
from tests.e2e import stranger
from tests.e2e.test_reach import addresses, management, public
from tests.fault.conftest import Faults
from tests.fault.faults import Cut, Node, wait
from tests.fault.members import Membership

OUTAGE = 60
"""Seconds that a cut lasts."""
FREEZE = 75
"""Seconds: longer than each timeout that decides whether a member lives (the longest: RabbitMQ's net tick, 60 s)."""


def victim(members: Membership) -> Node:
    """The node that hurts most: it holds the internal API address; writes go to its database where that is so."""
    return members.nodes[members.vip_holders("internal")[0]]


def writer(members: Membership) -> Node:
    """The node that takes the database's writes."""
    return members.nodes[members.writer()]


@pytest.mark.parametrize("which", [victim, writer])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_node_lost(how: str, which: Callable[[Membership], Node], trial: Faults, members: Membership) -> None:
    node = which(members)
    with trial(lost=node.host) as t:
        t.note(f"{how} of {node}, API addresses on {members.vip_holders('internal')}, writes to {members.writer()}")
        t.loses(node, how)


def test_a_rebooted_node_is_closed_to_strangers(trial: Faults, members: Membership, inputs: Region) -> None:
    node = victim(members)
    address = str(inputs.inventory.hosts[node.host].networks["provider"].address)
    with trial(lost=node.host) as t:
        try:
            node.stop()
            t.answers_for(10)
        finally:
            t.returns()
            node.start()
        with stranger.on_network(inputs, "provider", management(inputs), address):
            # while it boots, and when all of it runs
            assert stranger.scan(sorted(addresses(inputs))) <= public(inputs)
            t.whole_again()
            assert stranger.scan(sorted(addresses(inputs))) <= public(inputs)


def test_node_frozen(trial: Faults, members: Membership) -> None:
    node = victim(members)
    with trial(lost=node.host) as t:
        t.note(f"{node} frozen for {FREEZE} s, writes to {members.writer()}")
        node.freeze()
        try:
            time.sleep(FREEZE)  # its duration is part of the fault
            t.answers_for(5)
        finally:
            t.returns()
            node.thaw()
        t.whole_again()


@pytest.mark.parametrize("how", list(Cut))
@pytest.mark.parametrize("networks", ["management+provider", "management", "provider"])
def test_node_cut_off(networks: str, how: Cut, trial: Faults, members: Membership) -> None:
    node = victim(members)
    interfaces = [members.interfaces[node.host][n] for n in networks.split("+")]
    with trial(lost=node.host) as t:
        t.note(f"{node} without {networks} ({how}) for {OUTAGE} s, writes to {members.writer()}")
        mend = node.cut(interfaces, how)
        try:
            time.sleep(OUTAGE)  # its duration is part of the fault
            t.answers_for(5)
        finally:
            t.returns()
            mend()
        t.whole_again()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_all_nodes_lost(how: str, trial: Faults, members: Membership) -> None:
    nodes = list(members.nodes.values())
    with trial(longest=None) as t:
        try:
            members.together(nodes, Node.stop if how == "stop" else Node.kill)
        finally:
            t.returns()
            members.together(nodes, Node.start)
        back = time.monotonic()
        try:
            t.whole_again(240)
        except AssertionError as error:
            t.note(f"did not come back by itself: {error}")
            for service in ("mariadb", "rabbitmq", "ovn"):
                done = t.region.scs("recover", service, "--yes", expect=None)
                t.note(f"scs recover {service}: exit {done.code}")
            t.whole_again(300)
        t.numbers["back_seconds"] = round(time.monotonic() - back, 1)
        wait(lambda: all(n.running for n in nodes), 10, "all nodes run")
