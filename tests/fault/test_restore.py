# SPDX-License-Identifier: Apache-2.0
"""The restore drill: what a region of three nodes loses, its databases or all its hosts, comes back with every row.

Destroys the region's data on purpose; takes about half an hour on two cores.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from tests.e2e.blackbox import RegionUnderTest
from tests.fault.faults import run
from tests.fault.faults import wait as until
from tests.fault.guest import Keeper

pytestmark = pytest.mark.fault

MYSQL = ("mariadb", "--defaults-file=/etc/mysql/client.cnf", "--batch", "--skip-column-names", "--raw", "--execute")

TABLES = (
    "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' "
    "AND TABLE_SCHEMA NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY 1"
)

QUIET = ("glance", "placement", "nova_api", "neutron")
"""Schemas that nobody writes to while nobody asks."""

ALIVE = ("nova.services", "neutron.agents", "neutron.ovn_hash_ring", "nova_cell0.services")
"""Tables of heartbeats: services that start may add rows."""


@pytest.fixture(scope="module")
def site(keeper: Keeper) -> RegionUnderTest:
    """A testbed with nothing to change, and without the other tests' guest: its disk would be lost with the hosts."""
    keeper.remove()
    found = RegionUnderTest(os.environ.setdefault("SCS_ENVIRONMENT", "testbed-ha"))
    if "testbed" not in found.settings:
        pytest.fail(f"environment {found.name} is no testbed: this test drops its databases")
    assert found.plan() == []
    return found


@pytest.fixture(scope="module")
def hosts(site: RegionUnderTest) -> list[str]:
    """Hosts of the members."""
    return sorted({host for host, container in site.containers() if container == "mariadb"})


def sql(site: RegionUnderTest, host: str, statement: str) -> str:
    return site.on(host, "docker", "exec", "mariadb", *MYSQL, statement).strip()


def checksums(site: RegionUnderTest, host: str) -> dict[str, str]:
    """Table: CHECKSUM TABLE EXTENDED, which every value of every row goes into."""
    tables = [t for t in sql(site, host, TABLES).split() if t not in ALIVE]
    assert len(tables) > 100, "a region has some hundred tables"
    quoted = ", ".join("`{}`.`{}`".format(*t.split(".", 1)) for t in tables)
    rows = sql(site, host, f"CHECKSUM TABLE {quoted} EXTENDED").splitlines()
    return dict(row.split("\t") for row in rows)


def marks(site: RegionUnderTest) -> set[str]:
    """Projects that this test made."""
    return {p["Name"] for p in site.openstack("project", "list") if p["Name"].startswith("scs-restore-")}


def test_all_databases_come_back(site: RegionUnderTest, hosts: list[str]) -> None:
    stamp = str(int(time.time()))
    site.scs("backup", "create", "--full")
    site.scs("openstack", "project", "create", f"scs-restore-{stamp}")
    made = site.scs("backup", "create", "--json").json()
    assert made["database"]["kind"] == "incremental"
    proved = site.scs("backup", "verify", made["id"], "--json").json()
    assert proved["tables"] == made["tables"] > 100
    site.scs("openstack", "project", "create", f"scs-restore-{stamp}-too-late")

    services = ("keystone", "glance", "placement", "nova", "neutron")
    site.scs("stop", "--yes", *services, expect=0)
    # what the second backup holds, without the project that came after it
    sql(site, hosts[0], f"DELETE FROM keystone.project WHERE name = 'scs-restore-{stamp}-too-late'")
    before = checksums(site, hosts[0])
    for schema in sorted({t.split(".")[0] for t in before}):
        sql(site, hosts[0], f"DROP DATABASE `{schema}`")
    assert sql(site, hosts[-1], TABLES) == "", "the loss reached every member"

    planned = site.scs("backup", "restore", made["id"], "--only", "mariadb", "--plan", "--json").json()
    assert [s["action"] for s in planned["steps"]][:2] == ["stage", "quiet"]
    begin = time.monotonic()
    done = site.scs("backup", "restore", made["id"], "--only", "mariadb", "--yes")
    print(f"{done.out}\nrestored in {time.monotonic() - begin:.0f} s")

    for host in hosts:
        assert sql(site, host, "SHOW STATUS LIKE 'wsrep_cluster_size'").split()[1] == str(len(hosts))
    after = checksums(site, hosts[-1])
    assert set(before) <= set(after)
    # a token's life goes on as soon as services run: what nobody writes to at rest must be equal, value by value
    differ = sorted(t for t in before if before[t] != after[t])
    quiet = [t for t in differ if t.split(".")[0] in QUIET]
    assert quiet == [], f"tables differ: {quiet}"
    assert marks(site) == {f"scs-restore-{stamp}"}, "exactly what the backup held"
    site.scs("apply", "--yes")
    assert site.plan() == []
    site.scs("validate", "token", "catalogue", "flavor", "network")
    site.scs("openstack", "project", "delete", f"scs-restore-{stamp}")


def test_the_whole_backup_loads(site: RegionUnderTest, hosts: list[str]) -> None:
    made = site.scs("backup", "create", "--json").json()
    keys = "import hashlib, pathlib; p = pathlib.Path('/etc/keystone/credential-keys'); " + (
        "print(hashlib.sha256(b''.join(f.read_bytes() for f in sorted(p.glob('[0-9]*')))).hexdigest())"
    )

    def credential_keys() -> set[str]:
        return {site.on(h, "docker", "exec", "keystone_fernet", "python3", "-c", keys).strip() for h in hosts}

    before = credential_keys()
    networks = {n["Name"] for n in site.openstack("network", "list")}
    switches = site.on(hosts[0], "docker", "exec", "ovn_nb", "ovn-nbctl", "--no-leader-only", "--bare", "ls-list")
    done = site.scs("backup", "restore", made["id"], "--yes")
    print(done.out)
    assert credential_keys() == before
    assert len(before) == 1
    assert {n["Name"] for n in site.openstack("network", "list")} == networks
    assert sorted(
        site.on(hosts[0], "docker", "exec", "ovn_nb", "ovn-nbctl", "--no-leader-only", "--bare", "ls-list").split()
    ) == sorted(switches.split())
    site.scs("apply", "--yes")
    assert site.plan() == []


def hypervisors(site: RegionUnderTest) -> dict[str, str]:
    """Name: identity, of those that work."""
    return {h["Hypervisor Hostname"]: h["ID"] for h in site.openstack("hypervisor", "list") if h["State"] == "up"}


def test_fresh_hosts_become_the_region(site: RegionUnderTest, hosts: list[str]) -> None:
    """All hosts burn down; what is left are the description, its secrets and a backup."""
    stamp = str(int(time.time()))
    site.scs("openstack", "project", "create", f"scs-restore-{stamp}")
    site.scs("openstack", "network", "create", f"scs-restore-{stamp}")
    site.scs("validate", "server", "--keep", timeout=900)
    guest = site.openstack("server", "list")[0]["ID"]
    machines = hypervisors(site)
    assert set(machines) == set(hosts)
    made = site.scs("backup", "create", "--full", "--json").json()
    before = checksums(site, hosts[0])
    for host in hosts:
        run("docker", "rm", "--force", "--volumes", f"scs-{host}")
        run("docker", "volume", "rm", f"scs-{host}-docker")

    site.scs("testbed", "up", "--no-validate", timeout=2400)
    assert f"scs-restore-{stamp}" not in marks(site)
    begin = time.monotonic()
    done = site.scs("backup", "restore", made["id"], "--yes", timeout=2400)
    print(f"{done.out}\nrestored in {time.monotonic() - begin:.0f} s")

    after = checksums(site, hosts[-1])
    # Neutron has found by now that the guest's port is down
    differ = {t for t in before if before[t] != after.get(t)}
    assert {t for t in differ if t.split(".")[0] in QUIET and not t.startswith("neutron.")} == set()
    assert f"scs-restore-{stamp}" in marks(site)
    assert hypervisors(site) == machines, "each is the compute node that it was"
    # its disk is not in the backup; nova-compute finds out when it starts
    until(lambda: site.openstack("server", "show", guest)["status"] != "ACTIVE", 300, "the lost guest is not noticed")
    site.scs("apply", "--yes")
    assert site.plan() == []
    # OVN's databases are those of the backup as well: Neutron finds nothing amiss, and a guest is reached
    assert f"scs-restore-{stamp}" in {n["Name"] for n in site.openstack("network", "list")}
    site.scs("validate", timeout=1800)
    site.scs("openstack", "network", "delete", f"scs-restore-{stamp}")
    site.scs("openstack", "project", "delete", f"scs-restore-{stamp}")


def test_a_killed_backup_leaves_nothing_behind(site: RegionUnderTest, hosts: list[str]) -> None:
    running = "ps -eo args | grep -c '^mariadb-backup ' || true"
    # it runs for a second: seen from the hosts themselves, whichever it is made on
    watch = "timeout 60 sh -c 'until pgrep -f ^mariadb-backup >/dev/null; do sleep 0.05; done; echo seen'"
    with ThreadPoolExecutor(len(hosts)) as pool:
        watches = [pool.submit(site.on, h, "sh", "-c", watch, expect=None) for h in hosts]
        killed = site.start("backup", "create", "--full", "--only", "mariadb")
        first = wait(watches, return_when=FIRST_COMPLETED).done
        alive = killed.poll() is None
        killed.kill()
        killed.wait()
    assert "seen" in "".join(w.result() for w in first), "no mariadb-backup was seen"
    assert alive, "it ended before it could be killed"
    time.sleep(5)
    assert [site.on(h, "sh", "-c", running).strip() for h in hosts] == ["0"] * len(hosts)
    listed = json.loads(site.scs("backup", "list", "--json").out)
    assert [w for w in listed["damaged"].values() if w.startswith("interrupted")]
    site.scs("backup", "create", "--only", "mariadb")
    assert site.scs("backup", "list", "--json").json()["damaged"] == {}
