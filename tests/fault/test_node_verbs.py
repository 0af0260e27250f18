# SPDX-License-Identifier: Apache-2.0
"""`scs node` on a region of three nodes: a drain empties a host that serves on, a replacement makes the region whole.

Runs on the testbed `ha` with nothing to change; takes about half an hour on two cores.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.e2e.blackbox import RegionUnderTest
from tests.fault.conftest import Faults
from tests.fault.members import Membership

pytestmark = pytest.mark.fault

LONGEST_GAP = 15.0
"""Seconds without an answer of Keystone while a drain moves the API addresses."""


def three_nodes() -> RegionUnderTest:
    """A testbed of three control hosts with nothing to change."""
    found = RegionUnderTest(os.environ.setdefault("SCS_ENVIRONMENT", "testbed-ha"))
    if "testbed" not in found.settings:
        pytest.fail(f"environment {found.name} is no testbed: these tests take nodes away")
    assert found.plan() == []
    hosts = rows(found)
    assert len(hosts) >= 3
    assert {r["state"] for r in hosts.values()} == {"in use"}
    return found


@pytest.fixture(scope="module")
def ha() -> RegionUnderTest:
    return three_nodes()


@pytest.fixture(scope="module")
def server(ha: RegionUnderTest) -> Iterator[str]:
    """A running server with a router's gateway, left by a validation; its id."""
    report = ha.scs("validate", "floating-ip", "--keep", "--json").json()
    name = f"scs-validate-{report['id']}"
    yield ha.openstack("server", "show", name)["id"]
    # the next validation removes what this one kept
    ha.scs("validate", "flavor")


def rows(region: RegionUnderTest) -> dict[str, dict[str, Any]]:
    """What `scs node list` tells, by host."""
    return {r["host"]: r for r in region.scs("node", "list", "--json").json()}


def whole(region: RegionUnderTest) -> None:
    """Every host is in use and a member of everything."""
    for host, row in rows(region).items():
        assert row["state"] == "in use", row
        assert all(row["members"].values()), (host, row["members"])
        assert row["compute"] == {"enabled": True, "up": True, "reason": ""}, row
        assert row["gateway"], row


def host_of(region: RegionUnderTest, server: str) -> str:
    return str(region.openstack("server", "show", server)["OS-EXT-SRV-ATTR:host"])


@contextmanager
def asking(region: RegionUnderTest) -> Iterator[list[tuple[float, bool]]]:
    """Ask Keystone through the external address four times a second: (time, answered)."""
    seen: list[tuple[float, bool]] = []
    end = threading.Event()
    url = region.auth["auth_url"]

    def ask() -> None:
        while not end.wait(0.25):
            began = time.monotonic()
            try:
                good = requests.get(url, verify=str(region.ca), timeout=3).status_code == 200
            except requests.RequestException:
                good = False
            seen.append((began, good))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


def longest_gap(seen: list[tuple[float, bool]]) -> float:
    good = [at for at, answered in seen if answered]
    return max(later - earlier for earlier, later in itertools.pairwise(good))


def test_drain_and_undrain(ha: RegionUnderTest, server: str) -> None:
    host = host_of(ha, server)
    planned = ha.scs("node", "drain", host, "--plan", "--json").json()
    assert planned["refusals"] == []
    assert rows(ha)[host]["state"] == "in use", "--plan changed something"

    with asking(ha) as seen:
        ha.scs("node", "drain", host, "--yes")
    gap = longest_gap(seen)
    print(
        f"drain of {host}: longest gap {gap:.1f} s, {sum(not g for _, g in seen)} of {len(seen)} questions unanswered"
    )
    assert gap < LONGEST_GAP

    row = rows(ha)[host]
    assert (row["state"], row["guests"], row["addresses"], row["gateways"]) == ("drained", 0, [], [])
    assert all(row["members"].values()), "a drained host stays a member"
    assert host_of(ha, server) != host
    assert ha.openstack("server", "show", server)["status"] == "ACTIVE"
    found = ha.scs("plan", "--json").json()
    assert (found["changes"], found["drained"]) == ([], [host])
    assert ha.scs("node", "drain", host, "--plan", "--json").json()["steps"] == []

    # what is drained stays so when HAProxy is restarted
    ha.scs("restart", "--yes", "haproxy", "keepalived")
    assert rows(ha)[host]["state"] == "drained"
    assert "identity" not in serving(ha, host)

    ha.scs("node", "undrain", host, "--yes")
    whole(ha)
    assert "identity" in serving(ha, host)
    found = ha.scs("plan", "--json").json()
    assert (found["changes"], found["drained"], found["held"]) == ([], [], [])


def serving(region: RegionUnderTest, host: str) -> set[str]:
    """Backends whose server of the host gets requests, in every load balancer."""
    script = "echo 'show stat -1 4 -1' | nc -N -U -w 5 /run/scs/haproxy/admin.sock"
    result: list[set[str]] = []
    for balancer in rows(region):
        lines = region.on(balancer, "docker", "exec", "haproxy", "sh", "-c", script).splitlines()
        cells = [line.split(",") for line in lines if line.count(",") > 20]
        result.append({c[0] for c in cells if c[1] == host and c[17] == "UP"})
    return set.intersection(*result)


def test_a_second_host_is_not_drained_of_its_votes(ha: RegionUnderTest) -> None:
    first, second, *_ = sorted(rows(ha))
    ha.scs("stop", "--yes", "rabbitmq", "--host", first)
    try:
        refused = ha.scs("node", "drain", second, "--yes", expect=2)
        assert "RabbitMQ would have 1 of 3 members" in refused.err
        assert rows(ha)[second]["state"] == "in use"
    finally:
        ha.scs("start", "rabbitmq", "--host", first)
    whole(ha)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drain", "no-such-host", "--yes"), "no host 'no-such-host'"),
        (("drain", "ha-1"), "add --yes"),
        (("remove", "ha-1", "--yes"), "an even number"),
    ],
)
def test_refusals(ha: RegionUnderTest, arguments: tuple[str, ...], said: str) -> None:
    refused = ha.scs("node", *arguments, expect=2)
    assert said in refused.err
    assert refused.err.count("\n") == 1


def test_replace_of_a_host_without_its_disk(ha: RegionUnderTest, trial: Faults, members: Membership) -> None:
    """The node and all its disks are gone, OSDs and all: what a guest and a client of S3 had written is there."""
    host = "ha-2"
    name = f"scs-{host}"
    with trial(longest=None, lost=host) as t:
        assert rows(ha)[host]["guests"] == 0, "a server would be lost with the node"
        lost = osds(members, host)
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)
        subprocess.run(["docker", "volume", "rm", f"{name}-docker"], check=True, capture_output=True)

        refused = ha.scs("node", "drain", host, "--yes", expect=2)
        assert "is unreachable" in refused.err

        ha.scs("testbed", "up", "--layout", "ha", "--no-deploy", "--no-validate")
        assert ha.on(host, "docker", "ps", "--quiet") == ""
        begin = time.monotonic()
        with asking(ha) as seen:
            ha.scs("node", "replace", host, "--yes")
        t.note(f"replaced in {time.monotonic() - begin:.0f} s; longest gap of Keystone {longest_gap(seen):.1f} s")
        t.whole_again()
        made = osds(members, host)
        assert len(made) == len(lost), f"the host has {len(made)} OSDs, not {len(lost)} as before"
        assert made.isdisjoint(lost), "an OSD outlived its disk"
    whole(ha)
    assert ha.plan() == []
    for cluster in ("nb OVN_Northbound", "sb OVN_Southbound"):
        short, schema = cluster.split()
        status = ha.on(
            "ha-1", "docker", "exec", f"ovn_{short}", "ovs-appctl", f"--target=/run/ovn/ovn{short}_db.ctl",
            "cluster/status", schema,
        )  # fmt: skip
        assert status.count(" at ssl:") == 3, status
    ha.scs("validate", "services-up", "server", *(("volume-guest", "s3") if members.monitors else ()))


def osds(members: Membership, host: str) -> set[str]:
    """UUIDs of the OSDs of a host by Ceph's map of failure domains; none without Ceph."""
    if not members.monitors:
        return set()
    nodes = members.ask_ceph("osd tree")["nodes"]
    numbers: list[int] = next((n["children"] for n in nodes if n["type"] == "host" and n["name"] == host), [])
    return {o["uuid"] for o in members.ask_ceph("osd dump")["osds"] if o["osd"] in numbers}
