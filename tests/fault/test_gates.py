# SPDX-License-Identifier: Apache-2.0
"""A rolling restart while one member is unwell: it stops at the gate before it takes the others' majority.

Each test lasts as long as its gate is asked: five minutes for RabbitMQ, fifteen for Galera.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest

from tests.e2e.blackbox import RegionUnderTest
from tests.fault.conftest import Faults
from tests.fault.faults import wait
from tests.fault.members import Membership


def refused(region: RegionUnderTest, members: Membership, service: str, says: str) -> str:
    """Restart a service; returns the last line. It ends with an error, and no member was restarted.

    :param says: the reason, in the last lines
    """
    before = {host: node.started(service) for host, node in members.nodes.items()}
    done = region.scs("restart", service, "--yes", expect=1, timeout=1500)
    output = done.out + done.err
    assert f"{service} is not stopped" in output, output
    assert says in output, output
    assert {host: node.started(service) for host, node in members.nodes.items()} == before
    return str(output.strip().splitlines()[-1])


@contextmanager
def memory_alarm(members: Membership, host: str) -> Iterator[None]:
    """A broker with a memory alarm, which blocks everybody who publishes."""
    node = members.nodes[host]

    def alarms() -> list[object]:
        return [n["name"] for n in members.broker(host) if n["mem_alarm"]]

    limit = "vm_memory_monitor:get_vm_memory_high_watermark()."
    said = node.inside("rabbitmq", "rabbitmqctl", "--quiet", "eval", limit)
    # {absolute,1000000000}
    before = said.strip().strip("{}").replace('"', "").split(",")
    try:
        node.inside("rabbitmq", "rabbitmqctl", "set_vm_memory_high_watermark", "absolute", "1MB")
        wait(lambda: alarms() == [f"rabbit@{host}"], 60, f"a memory alarm on {host}")
        yield
    finally:
        node.inside("rabbitmq", "rabbitmqctl", "set_vm_memory_high_watermark", *before)
        wait(lambda: not alarms(), 60, f"no memory alarm on {host}")


@contextmanager
def out_of_connections(members: Membership, host: str) -> Iterator[None]:
    """A database member that takes no further session at the usual port."""
    node = members.nodes[host]
    # the reserved connections are for this account, too
    client = ("mariadb", "--defaults-file=/etc/mysql/client.cnf", "--port=3307", "--batch", "--skip-column-names")

    def sql(statement: str) -> str:
        return node.inside("mariadb", *client, "--execute", statement).strip()

    before = sql("SELECT @@max_connections")
    sessions: list[Any] = []
    try:
        sql("SET GLOBAL max_connections = 10")
        # one more than that, which an administrator may have; services keep a few of them
        with pytest.raises(pymysql.err.OperationalError, match="Too many connections"):
            sessions.extend(members.session(host) for _ in range(12))
        yield
    finally:
        sql(f"SET GLOBAL max_connections = {before}")
        for session in sessions:
            session.close()


def test_a_memory_alarm_on_one_member(trial: Faults, members: Membership, region: RegionUnderTest) -> None:
    second = sorted(members.nodes)[1]
    # who publishes waits until the alarm is over: how long does not matter here
    with trial(longest=None) as t:
        with memory_alarm(members, second):
            t.note(refused(region, members, "rabbitmq", f"{second} has a memory alarm"))
        t.whole_again()
        # the alarm is over, and the same command goes on
        region.scs("restart", "rabbitmq", "--yes")
        t.whole_again()


def test_one_database_member_out_of_connections(trial: Faults, members: Membership, region: RegionUnderTest) -> None:
    writer = members.writer()
    *_, full = sorted(host for host in members.nodes if host != writer)
    with trial() as t:
        with out_of_connections(members, full):
            # it still counts, for the load balancers too
            balancer = members.haproxy(writer)
            assert balancer["database", full].startswith("UP"), balancer["database", full]
            t.note(refused(region, members, "mariadb", f"{full} is out of connections"))
            assert members.writer() == writer
        t.whole_again()
