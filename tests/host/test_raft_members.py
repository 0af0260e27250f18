# SPDX-License-Identifier: Apache-2.0
"""Three real servers of OVN's northbound database: what the gate says while one of them is unwell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_members import HOSTS, Members, members
from tests.support.peer_hosts import eventually

IMAGE = "scs/ovn:2025.1"
YES = (0, "")

pytestmark = needs(IMAGE)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    folder = tmp_path_factory.mktemp("raft")
    with members(dummy_region("testbed-ha"), "ovn_nb", IMAGE, folder) as cluster:
        cluster.start("ha-1", "/etc/scs/ovn/create-database.sh")
        eventually(lambda: healthy(cluster, "ha-1"), 180)
        assert cluster.gate("ha-1") == YES, "the others have yet to join"
        for host in ("ha-2", "ha-3"):
            cluster.start(host)
        eventually(lambda: all(healthy(cluster, host) for host in HOSTS), 180)
        yield cluster


def healthy(cluster: Members, host: str) -> bool:
    return cluster.inside(host, "/etc/scs/ovn/health-database.sh")[0] == 0


def test_what_the_gate_says(servers: Members) -> None:
    assert [servers.gate(host) for host in HOSTS] == [YES] * 3
    servers.stop("ha-3")
    there = servers.address("ha-3")
    reason = f"{there} does not answer: 2 of 3 members must have a leader without this one"
    assert [servers.gate(host) for host in ("ha-1", "ha-2")] == [(1, reason)] * 2
    # a member that does not tell how it is, and that the other one needs
    servers.inside("ha-2", "sh", "-c", "mv /run/ovn/ovnnb_db.ctl /run/ovn/away; touch /run/ovn/ovnnb_db.ctl")
    assert not healthy(servers, "ha-2")
    assert servers.gate("ha-2") == (1, reason)
    servers.start("ha-3")
    eventually(lambda: servers.gate("ha-2") == YES, 180)
    # alone, it has no majority to lose
    servers.stop("ha-3", "ha-2")
    eventually(lambda: not healthy(servers, "ha-1"), 180)
    assert servers.gate("ha-1") == YES
