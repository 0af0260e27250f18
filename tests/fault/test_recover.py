# SPDX-License-Identifier: Apache-2.0
"""`scs recover` on a region of three nodes: data survives a full outage, a lost member is one again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.blackbox import RegionUnderTest, wait

pytestmark = pytest.mark.fault

MYSQL = ("mariadb", "--defaults-file=/etc/mysql/client.cnf", "--batch", "--skip-column-names", "--execute")
OTHER = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def site() -> RegionUnderTest:
    """The region; it must be whole."""
    found = RegionUnderTest(os.environ.get("SCS_ENVIRONMENT", "testbed-ha"))
    for service in ("mariadb", "rabbitmq", "ovn"):
        assert recovery(found, service)["steps"] == [], f"{service} is not whole"
    return found


@pytest.fixture(scope="module")
def hosts(site: RegionUnderTest) -> list[str]:
    """Hosts of the members."""
    found = sorted({host for host, container in site.containers() if container == "mariadb"})
    assert len(found) == 3
    return found


@pytest.fixture
def schema(site: RegionUnderTest, hosts: list[str]) -> Iterator[str]:
    """A schema with a table of numbers."""
    sql(site, hosts[0], "CREATE SCHEMA scs_recover; CREATE TABLE scs_recover.written (n INT PRIMARY KEY)")
    yield "scs_recover"
    sql(site, hosts[0], "DROP SCHEMA scs_recover")


def recovery(site: RegionUnderTest, service: str, *options: str) -> dict[str, Any]:
    """What `--plan` tells scripts."""
    found: dict[str, Any] = site.scs("recover", service, "--plan", "--json", *options).json()
    return found


def inside(site: RegionUnderTest, host: str, container: str, *command: str) -> str:
    return site.on(host, "docker", "exec", container, *command)


def volume(site: RegionUnderTest, host: str, name: str) -> str:
    """Where a volume's files are on its host."""
    return site.on(host, "docker", "volume", "inspect", "--format", "{{.Mountpoint}}", name).strip()


def sql(site: RegionUnderTest, host: str, statement: str) -> str:
    return inside(site, host, "mariadb", *MYSQL, statement).strip()


def test_the_newest_data_survives_a_full_outage(site: RegionUnderTest, hosts: list[str], schema: str) -> None:
    first, *others = hosts
    sql(site, first, f"INSERT INTO {schema}.written VALUES (1)")
    site.scs("stop", "--yes", "mariadb", "--host", first)
    sql(site, others[0], f"INSERT INTO {schema}.written VALUES (2)")
    for host in others:
        site.scs("stop", "--yes", "mariadb", "--host", host)

    # a member with another history: nobody may choose between them silently
    folder = volume(site, others[1], "mariadb")
    site.on(others[1], "cp", "-a", f"{folder}/grastate.dat", "/tmp/grastate.dat")
    site.on(others[1], "sed", "-i", f"s/^uuid:.*/uuid:    {OTHER}/", f"{folder}/grastate.dat")
    refused = site.scs("recover", "mariadb", "--yes", expect=2)
    assert "have different histories" in refused.err
    assert OTHER in refused.err
    assert "Traceback" not in refused.err
    assert {
        s["state"] for s in site.scs("status", "mariadb", "--json", expect=1).json() if s["container"] == "mariadb"
    } == {"exited"}
    site.on(others[1], "cp", "-a", "/tmp/grastate.dat", f"{folder}/grastate.dat")

    planned = recovery(site, "mariadb")
    boot = next(s for s in planned["steps"] if s["action"] == "bootstrap")
    history = {m["uuid"] for m in planned["members"]}
    assert boot["hosts"][0] in others, "the first member lacks the second row"
    assert len(history) == 1

    done = site.scs("recover", "mariadb", "--yes")
    print(done.out)
    for host in hosts:
        assert sql(site, host, f"SELECT GROUP_CONCAT(n ORDER BY n) FROM {schema}.written") == "1,2"
        assert sql(site, host, "SHOW STATUS LIKE 'wsrep_cluster_size'").split() == ["wsrep_cluster_size", "3"]
        assert site.on(host, "ls", "/var/lib/scs/recovery/mariadb").split(), "no copy was taken"
    assert {m["uuid"] for m in recovery(site, "mariadb")["members"]} == history, "the history went on"
    wait(lambda: site.scs("validate", "token", expect=None).code == 0, 120, "Keystone does not answer")
    assert site.plan() == []


def test_a_single_member_joins_again(site: RegionUnderTest, hosts: list[str]) -> None:
    site.scs("stop", "--yes", "mariadb", "--host", hosts[1])
    assert [(s["action"], s["hosts"]) for s in recovery(site, "mariadb")["steps"]] == [("join", [hosts[1]])]
    site.scs("recover", "mariadb", "--yes")
    assert recovery(site, "mariadb")["steps"] == []
    assert site.plan() == []


def test_a_broker_that_lost_its_data_is_a_member_again(site: RegionUnderTest, hosts: list[str]) -> None:
    lost = hosts[1]
    # not all of it, else it would ask for a new place by itself: it comes up as a cluster of its own
    inside(site, lost, "rabbitmq", "sh", "-c", f"rm -r /var/lib/rabbitmq/mnesia/rabbit@{lost}/[c-s]*")
    site.on(lost, "docker", "kill", "rabbitmq")
    assert "rejoin" in [s["action"] for s in recovery(site, "rabbitmq")["steps"]]
    done = site.scs("recover", "rabbitmq", "--yes")
    print(done.out)
    status = json.loads(
        inside(site, hosts[0], "rabbitmq", "rabbitmqctl", "-q", "cluster_status", "--formatter", "json")
    )
    assert sorted(status["running_nodes"]) == [f"rabbit@{h}" for h in hosts]
    assert sorted(status["disk_nodes"]) == [f"rabbit@{h}" for h in hosts]
    members = inside(
        site, hosts[0], "rabbitmq", "rabbitmqctl", "-q", "list_queues", "-p", "nova", "--formatter", "json",
        "name", "type", "members",
    )  # fmt: skip
    few = [q["name"] for q in json.loads(members) if q["type"] == "quorum" and len(q["members"]) < 3]
    assert few == []


@pytest.mark.parametrize(
    ("container", "name", "schema_name"), [("ovn_nb", "ovnnb", "OVN_Northbound"), ("ovn_sb", "ovnsb", "OVN_Southbound")]
)
def test_a_raft_server_without_its_file_is_replaced(
    site: RegionUnderTest, hosts: list[str], container: str, name: str, schema_name: str
) -> None:
    rows = {m["host"]: m for m in recovery(site, "ovn")["members"] if m["database"] == container}
    lost = next(h for h in hosts if rows[h]["role"] == "follower")
    inside(site, lost, container, "rm", f"/var/lib/ovn/{name}_db.db")
    site.on(lost, "docker", "kill", container)
    done = site.scs("recover", "ovn", "--yes")
    print(done.out)
    after = {m["host"]: m for m in recovery(site, "ovn")["members"] if m["database"] == container}
    assert after[lost]["server"] != rows[lost]["server"]
    for host in hosts:
        assert after[host]["counts"].split() == sorted(m["server"] for m in after.values()), (
            "a stale server still counts"
        )
    ctl = f"--target=/run/ovn/{name}_db.ctl"
    wait(
        lambda: (
            "Status: cluster member" in inside(site, lost, container, "ovs-appctl", ctl, "cluster/status", schema_name)
        ),
        60,
        f"{lost}/{container} is no member",
    )


def test_names_that_are_no_member_are_refused(site: RegionUnderTest) -> None:
    for service, option in (("mariadb", "--bootstrap-from"), ("rabbitmq", "--force-boot"), ("ovn", "--from")):
        refused = site.scs("recover", service, "--plan", option, "nowhere", expect=2)
        assert "nowhere" in refused.err
        assert refused.err.count("\n") == 1
