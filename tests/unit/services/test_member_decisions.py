# SPDX-License-Identifier: Apache-2.0
"""When a cluster can do without a member: what the gates of RabbitMQ and OVN conclude from the members' answers."""

from __future__ import annotations

import broker_gate
import pytest
import raft_gate
from broker_gate import View
from raft_gate import Own

ALL = frozenset({"a", "b", "c"})
WHOLE = View(running=ALL, known=ALL)
DOWN = View(refused=True, error="does not run")
SILENT = View(error="does not answer (timed out)")


def without(*gone: str, **more: object) -> View:
    return View(running=ALL - {*gone}, known=ALL, **more)  # type: ignore[arg-type]


ALARM = View(running=ALL, known=ALL, alarms={"b": "has a memory alarm"})
CRITICAL = "2 queues"
BROKERS: dict[str, tuple[View, View, View, str]] = {
    "all work": (WHOLE, WHOLE, WHOLE, ""),
    "it has an alarm itself": (View(running=ALL, known=ALL, alarms={"a": "x"}), WHOLE, WHOLE, ""),
    "another one has an alarm": (ALARM, ALARM, ALARM, "b has a memory alarm: 2 of 3 must work without it"),
    "another one is down": (without("c"), without("c"), DOWN, "c does not run: 2 of 3 must work without it"),
    "it has an alarm, and another one is down": (
        without("c", alarms={"a": "x"}), without("c"), DOWN, "c does not run: 2 of 3 must work without it",
    ),
    "it does not answer, and another one is down": (
        SILENT, without("c"), DOWN, "c does not run: 2 of 3 must work without it",
    ),
    "the others do not count it": (SILENT, without("a"), without("a"), ""),
    "it is down": (DOWN, without("a"), without("a"), ""),
    "one of the others does not count it, the other is down": (SILENT, without("a", "c"), DOWN, ""),
    "its queues need it": (View(running=ALL, known=ALL, critical=CRITICAL), WHOLE, WHOLE, CRITICAL),
    "it does not tell of its queues, and theirs are short": (
        SILENT, View(running=ALL, known=ALL, critical=CRITICAL), WHOLE, CRITICAL,
    ),
    "it is paused in a minority": (DOWN, DOWN, SILENT, ""),
    "nobody tells": (SILENT, SILENT, SILENT, "no"),
    "it works with a majority that this host does not reach": (WHOLE, SILENT, SILENT, "no"),
    "the others have yet to join": (View(running=frozenset("a"), known=frozenset("a")), DOWN, DOWN, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKERS)
def test_broker(case: str) -> None:
    a, b, c, expected = BROKERS[case]
    reason = broker_gate.decide("a", {"a": a, "b": b, "c": c})
    assert bool(reason) if expected == "no" else reason == expected


def test_the_only_broker_may_go() -> None:
    assert broker_gate.decide("a", {"a": SILENT}) == ""


SERVERS = ("1", "2", "3")
RAFT: dict[str, tuple[Own, dict[str, bool | None], str]] = {
    "all work": (Own(True, SERVERS), {"2": True, "3": True}, ""),
    "another one is down": (
        Own(True, SERVERS), {"2": True, "3": None},
        "3 does not answer: 2 of 3 members must have a leader without this one",
    ),
    "it does not tell, the others work": (Own(None), {"2": True, "3": True}, ""),
    "it does not tell, and one of the others works with it": (Own(None), {"2": True, "3": None}, "no"),
    "it has no leader, and the others work": (Own(False, SERVERS), {"2": True, "3": True}, ""),
    "it has no leader, and one of the others has": (Own(False, SERVERS), {"2": True, "3": None}, "no"),
    "nothing has a majority": (Own(False, SERVERS), {"2": False, "3": None}, ""),
    "nobody tells": (Own(None), {"2": None, "3": None}, "no"),
    "it does not tell, and the others have no leader": (Own(None), {"2": False, "3": False}, ""),
    "it works with members that this host does not reach": (Own(True, SERVERS), {"2": None, "3": None}, "no"),
    "the others have yet to join": (Own(True, ("1",)), {"2": None, "3": None}, ""),
    "the only one": (Own(True, ("1",)), {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", RAFT)
def test_raft(case: str) -> None:
    own, others, expected = RAFT[case]
    reason = raft_gate.decide(own, others)
    assert bool(reason) if expected == "no" else reason == expected


STATUS = """e2c4
Name: OVN_Northbound
Status: cluster member
Role: follower
Leader: {leader}
Connections: ->1a2b
Servers:
    e2c4 (e2c4 at ssl:10.0.0.11:6643) (self)
    1a2b (1a2b at ssl:[fd00::12]:6643) last msg 120 ms ago
"""


@pytest.mark.parametrize(("leader", "works"), [("1a2b", True), ("self", True), ("unknown", False)])
def test_what_a_raft_server_says_of_itself(leader: str, works: bool) -> None:
    found = raft_gate.read_own(STATUS.format(leader=leader), process=True)
    assert found == Own(works, ("10.0.0.11", "fd00::12"))
    assert raft_gate.read_own("", process=True).works is None
    assert raft_gate.read_own("", process=False).works is False
