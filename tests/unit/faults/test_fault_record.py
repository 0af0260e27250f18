# SPDX-License-Identifier: Apache-2.0
"""What the prober of the fault tests concludes from what it saw."""

from __future__ import annotations

import threading
import time

import pytest

from scs_deploy.prober.schedule import Schedule
from scs_deploy.state.measurement import Sample, longest_gap, summary
from tests.fault.faults import wait
from tests.fault.members import parse_haproxy, parse_raft
from tests.fault.record import discrepancies


def ok(start: float, seconds: float = 0.1, kind: str = "a") -> Sample:
    return Sample(kind=kind, start=start, seconds=seconds)


def failed(start: float, kind: str = "a") -> Sample:
    return Sample(kind=kind, start=start, seconds=0.1, error="HTTP 503")


@pytest.mark.parametrize(
    ("samples", "gap", "begin"),
    [
        ([], 100, 0),
        ([failed(10), failed(20)], 100, 0),
        ([ok(10), ok(20), ok(50)], 49.9, 50.1),
        # nobody asked before 20
        ([ok(10), failed(20), ok(80)], 60.1, 20),
        # slow, not lost: it ended the gap when it came back, not when it was sent
        ([ok(10), ok(20, 70), ok(91)], 70, 20),
        # one that is on its way already asks
        ([ok(10), ok(5, 65), ok(80)], 59.9, 10.1),
        # answers out of order: only the times of success count
        ([ok(10, 60), ok(20), ok(90)], 49.9, 20.1),
        # an outage that lasts to the end, and one from the beginning
        ([ok(1), ok(2)], 97.9, 2.1),
        ([ok(60), ok(99)], 60.1, 0),
        ([ok(50, kind="b")], 100, 0),
        # an answer after the end does not shorten the last gap
        ([ok(40), ok(95, 10)], 59.9, 40.1),
    ],
)
def test_longest_gap(samples: list[Sample], gap: float, begin: float) -> None:
    found = longest_gap("a", samples, 0, 100)
    assert found.seconds == pytest.approx(gap)
    assert found.begin == pytest.approx(begin)


def test_summary() -> None:
    found = summary("a", [ok(1), ok(2, 0.3), failed(3), failed(4), ok(5, kind="b")], 0, 8)
    assert (found.requests, found.failed, found.per_second) == (4, 2, 0.5)
    assert found.errors == {"HTTP 503": 2}
    assert found.gap.seconds == pytest.approx(5.7)


@pytest.mark.parametrize(
    ("attempted", "acknowledged", "there", "problem"),
    [
        ([1, 2, 3], [1, 3], [1, 3], None),
        ([1, 2, 3], [1, 3], [1, 2, 3], None),  # not acknowledged, may be there
        ([1, 2, 3], [1, 3], [1], "1 acknowledged and lost: [3]"),
        ([1, 2], [1], [1, 7], "1 never written: [7]"),
        ([1, 2], [1], [1, 2, 2], "1 there more than once: [2]"),
    ],
)
def test_discrepancies(attempted: list[int], acknowledged: list[int], there: list[int], problem: str | None) -> None:
    found = discrepancies("rows", attempted, acknowledged, there)
    assert found == ([f"rows: {problem}"] if problem else [])


def test_a_hanging_request_does_not_delay_the_next() -> None:
    release, calls = threading.Event(), []

    def work() -> None:
        calls.append(time.monotonic())
        release.wait(2)

    schedule = Schedule("hang", 0.1, 1.0, work)
    schedule.start()
    wait(lambda: len(calls) >= 8, 1.5, "calls while all others hang", interval=0.05)
    schedule.stop()
    release.set()
    schedule.join(5)
    assert calls[7] - calls[0] >= 0.65


LEADER = """0775
Name: OVN_Northbound
Server ID: 0775 (077595ea-6ff8-4e2b-bd9a-4d9a94d7f8e1)
Status: cluster member
Role: leader
Term: 3
Leader: self
Election timer: 4000
Connections: ->0000 <-bdd0 ->bdd0 <-958b
Servers:
    958b (958b at ssl:172.30.2.11:6643) next_index=723 match_index=722 last msg {} ms ago
    bdd0 (bdd0 at ssl:172.30.2.13:6643) next_index=723 match_index=722 last msg 271 ms ago
    0775 (0775 at ssl:172.30.2.12:6643) (self) next_index=253 match_index=722
"""


@pytest.mark.parametrize(("age", "heard"), [(271, 2), (240000, 1)])
def test_raft_leader(age: int, heard: int) -> None:
    found = parse_raft(LEADER.format(age))
    assert (found.member, found.leader, found.knows_leader, found.servers, found.heard) == (True, True, True, 3, heard)


def test_raft_without_a_leader() -> None:
    found = parse_raft("Status: cluster member\nRole: candidate\nLeader: unknown\nServers:\n")
    assert not found.leader
    assert not found.knows_leader


def test_haproxy_servers() -> None:
    rows = ("# pxname,svname,status", "a,FRONTEND,OPEN", "a,ha-1,UP", "a,ha-2,DOWN", "a,BACKEND,UP")
    text = "".join(f"{row},\n" for row in rows)
    assert parse_haproxy(text) == {("a", "ha-1"): "UP", ("a", "ha-2"): "DOWN"}
