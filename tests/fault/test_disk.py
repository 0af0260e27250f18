# SPDX-License-Identifier: Apache-2.0
"""One member of the database has a full disk."""

from __future__ import annotations

import time

import pymysql
import pytest

from tests.fault.client import say
from tests.fault.conftest import Faults, Trial
from tests.fault.faults import small_disk, wait
from tests.fault.members import Membership
from tests.fault.prober import SCHEMA

ROOM = 700
"""MiB beside the data: for the full copy that a member which left may need."""
GROWTH = 64
"""MiB that are written while the disk is full: far more than a table space grows by at a time."""


@pytest.mark.parametrize("role", ["writer", "standby"])
def test_full_disk(role: str, trial: Faults, members: Membership) -> None:
    writer = members.writer()
    host = writer if role == "writer" else next(h for h in members.nodes if h != writer)
    node = members.nodes[host]
    data = int(node.on("du", "-sm", "/var/lib/docker/volumes/mariadb/_data").split()[0])
    with small_disk(node, "mariadb", "mariadb", data + ROOM) as disk:
        wait(lambda: not members.missing(), 180, "a whole region with one member on a small disk", interval=2)
        if role == "writer":
            members.move_writer(host)
        with trial() as t:
            left = disk.fill()
            t.note(f"disk of mariadb on {host} ({role}) is full: {left} bytes free; writes go to {members.writer()}")
            try:
                refused = grow(t, members)
                t.note(f"{GROWTH} MiB written meanwhile, {refused} attempts refused")
                t.answers_for(10)
                t.note(f"mariadb on {host}: {state(members, host)}; writes go to {members.writer()}")
            finally:
                t.returns()
            disk.empty()
            t.whole_again()
    wait(lambda: not members.missing(), 180, "a whole region with the member back on its own disk", interval=2)


def grow(t: Trial, members: Membership) -> int:
    """Make the data grow through the load balancer, as a service would; how often that was refused."""
    refused, written = 0, 0
    name = f"{SCHEMA}.growth_{t.prober.id}"
    for _ in range(GROWTH * 3):
        try:
            with t.prober.session(timeout=20) as session, session.cursor() as cursor:
                cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} (id SERIAL, filler LONGBLOB) ENGINE=InnoDB")
                while written < GROWTH:
                    cursor.execute(f"INSERT INTO {name} (filler) VALUES (REPEAT('x', 1048576))")
                    session.commit()
                    written += 1
                cursor.execute(f"DROP TABLE {name}")
            return refused
        except (pymysql.Error, OSError) as error:
            refused += 1
            if refused == 1:
                t.note(f"first refusal after {written} MiB: {say(error)}")
            time.sleep(1)
    raise AssertionError(f"only {written} of {GROWTH} MiB could be written while one member's disk was full")


def state(members: Membership, host: str) -> str:
    """What a member says of itself."""
    try:
        status = members.galera(host)
    except (pymysql.Error, OSError) as error:
        return say(error)
    return f"{status.get('wsrep_cluster_status')}, {status.get('wsrep_local_state_comment')}"
