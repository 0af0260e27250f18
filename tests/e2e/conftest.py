# SPDX-License-Identifier: Apache-2.0
"""A deployed region, and a server in it that was booted by `scs validate --keep`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.blackbox import RegionUnderTest

DIAGNOSIS = """
top -b -n 1 -w 150 | head -20
docker exec ovn_nb ovn-nbctl --no-leader-only --columns=name,up,dhcpv4_options,addresses list Logical_Switch_Port
docker exec ovn_sb ovn-sbctl --no-leader-only show
docker exec ovs_vswitchd ovs-vsctl show
for name in ovn_controller ovs_vswitchd nova_compute; do docker logs --tail 15 $name 2>&1 | cut -c1-200; done
"""
"""What tells, on a host, why a server has no network."""

KEPT = ("floating-ip", "volume-guest")
"""The checks that leave a server which answers, and one that tells of its volumes."""


@pytest.fixture(scope="session")
def region() -> RegionUnderTest:
    """The region of SCS_ENVIRONMENT; it must have nothing to change when the tests begin."""
    found = RegionUnderTest(os.environ.get("SCS_ENVIRONMENT", "testbed"))
    if not (found.folder / "state" / "clouds.yaml").is_file():
        pytest.fail(f"environment {found.name} is not deployed: make testbed")
    return found


@dataclass(frozen=True)
class Server:
    """A running server."""

    id: str
    name: str
    address: str


@pytest.fixture(scope="session")
def report(region: RegionUnderTest) -> dict[str, Any]:
    """What `scs validate --keep` told of its servers, once for all tests: a later one removes what this one keeps.

    All checks run when the testbed is built, and at the end (test_zz_cleanup.py).
    """
    found: dict[str, Any] = region.scs("validate", *KEPT, "--keep", "--json", expect=None).json()
    if not found["passed"]:
        # what was found is gone when somebody could look
        for host in sorted({host for host, _ in region.containers()}):
            print(f"--- {host}\n{region.on(host, 'sh', '-c', DIAGNOSIS, expect=None)}")
    return found


@pytest.fixture(scope="session")
def server(region: RegionUnderTest, report: dict[str, Any]) -> Server:
    """A server with a floating IP."""
    name = f"scs-validate-{report['id']}"
    found = region.openstack("server", "show", name)
    ips = region.openstack("floating", "ip", "list", "--long")
    address = next(ip["Floating IP Address"] for ip in ips if ip["Description"] == name)
    return Server(found["id"], name, address)
