# SPDX-License-Identifier: Apache-2.0
"""Three real members of Galera: what health, the load balancers' question and the gate say while one is unwell.

Takes some minutes and scs/mariadb.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_members import HOSTS, Members, members
from tests.support.peer_hosts import eventually

IMAGE = "scs/mariadb:2025.1"
CONNECTIONS = 20
JOIN = 600
"""Seconds in which members copy all data, also on a busy machine."""
NEEDED = "2 of 3 members must be Synced and take connections without this one"
YES = (0, "")

pytestmark = needs(IMAGE)


def sql(cluster: Members, host: str, statement: str) -> str:
    client = ("mariadb", "--defaults-file=/etc/mysql/client.cnf", "--batch", "--skip-column-names")
    return cluster.inside(host, *client, "--execute", statement)[1]


def synced(cluster: Members, *hosts: str) -> bool:
    query = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_size', 'wsrep_local_state_comment')"
    return all(sorted(sql(cluster, h, query).split()[1::2]) == [str(len(hosts)), "Synced"] for h in hosts)


def small(text: str) -> str:
    text = text.replace("innodb_buffer_pool_size = 512M", "innodb_buffer_pool_size = 32M")
    text = text.replace("innodb_log_file_size = 128M", "innodb_log_file_size = 16M")
    return text.replace("extra_port", f"max_connections = {CONNECTIONS}\nextra_port")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    region = dummy_region("testbed-ha")
    with members(region, "mariadb", IMAGE, tmp_path_factory.mktemp("galera")) as found:
        found.change("server.cnf", small)
        found.change("cluster.env", lambda text: text + "GCACHE_SIZE=16M\n")
        check = (region.catalog.services["mariadb"].directory / "files" / "check.py").read_text()
        for host in HOSTS:
            (found.folder / host / "check.py").write_text(check)
        found.start("ha-1", "/etc/mysql/init.sh")
        eventually(lambda: synced(found, "ha-1"), JOIN)
        for host in ("ha-2", "ha-3"):
            found.start(host)
        eventually(lambda: synced(found, *HOSTS), JOIN)
        yield found


def test_a_member_out_of_connections_is_no_dead_one(cluster: Members) -> None:
    eventually(lambda: [cluster.gate(host) for host in HOSTS] == [YES] * 3, 60)
    session = "mariadb --defaults-file=/etc/mysql/client.cnf --execute 'SELECT SLEEP(1000)' &"
    cluster.inside("ha-2", "sh", "-c", f"for i in $(seq {CONNECTIONS + 1}); do {session} done > /dev/null 2>&1")
    eventually(lambda: "Too many connections" in sql(cluster, "ha-2", "SELECT 1"), 60)
    assert cluster.inside("ha-2", "/etc/mysql/health.sh") == YES
    address = cluster.address("ha-2")
    cluster.inside("ha-2", "sh", "-c", f"python3 -IS /etc/mysql/check.py {address} > /dev/null 2>&1 &")
    asked = ("curl", "--fail", "--silent", "--max-time", "3", f"http://{address}:4569/")
    eventually(lambda: "WSREP_READY=ON" in cluster.inside("ha-2", *asked)[1], 20)
    # the others can do without it, and not without each other
    assert cluster.gate("ha-2") == YES
    assert cluster.gate("ha-1") == (1, f"ha-2 is out of connections; {NEEDED}")
    cluster.stop("ha-3")
    assert cluster.gate("ha-2") == (1, f"ha-3 does not answer; {NEEDED}")
    cluster.start("ha-3")
    cluster.inside("ha-2", "pkill", "--full", "SELECT SLEEP")
    eventually(lambda: synced(cluster, *HOSTS), JOIN)


def test_a_cold_start_waits_until_most_hosts_are_there(cluster: Members) -> None:
    """The last one to leave starts first; the others' hosts follow."""
    cluster.stop("ha-3", "ha-2", "ha-1")
    cluster.start("ha-1")
    eventually(lambda: "whether the cluster runs is not known: no answer from ha-2 ha-3" in cluster.log("ha-1"), 60)
    assert sql(cluster, "ha-1", "SELECT 1").startswith("ERROR")
    for host in ("ha-2", "ha-3"):
        cluster.start(host)
    eventually(lambda: synced(cluster, *HOSTS), JOIN)
