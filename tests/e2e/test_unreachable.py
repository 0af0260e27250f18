# SPDX-License-Identifier: Apache-2.0
"""A compute host that does not respond is held: the plan says so, and covers the rest. Nothing changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.blackbox import RegionUnderTest

HOST = "testbed-9"
VARIABLES = """\
---
ansible_host: 172.30.0.99
networks:
  management: {interface: eth0, address: 172.30.0.99}
  provider: {interface: eth1, address: 172.30.1.99}
"""


@pytest.fixture
def copy(region: RegionUnderTest, tmp_path: Path) -> RegionUnderTest:
    """The same region, described by copied files, with a compute host that nobody has switched on."""
    state = shutil.ignore_patterns("runs*", "guest-image", "lock*")
    inventory = tmp_path / "inventories" / region.name
    shutil.copytree(region.folder, tmp_path / "environments" / region.name, ignore=state)
    shutil.copytree((region.folder / region.settings["inventory"]).resolve(), inventory)
    (inventory / "host_vars" / f"{HOST}.yml").write_text(VARIABLES)
    hosts = inventory / "hosts.yml"
    before, found, after = hosts.read_text().partition("    compute:\n      hosts:\n")
    assert found
    hosts.write_text(f"{before}{found}        {HOST}:\n{after}")
    copied = RegionUnderTest(region.name)
    copied.__dict__["environ"] = {**region.environ, "SCS_ENVIRONMENTS": str(tmp_path / "environments")}
    copied.__dict__["folder"] = tmp_path / "environments" / region.name
    copied.scs("secrets", "init")
    return copied


def test_it_is_held(copy: RegionUnderTest) -> None:
    found = copy.scs("plan", "--json").json()
    assert [(h["host"], h["state"]) for h in found["unreachable"]] == [(HOST, "held: host unreachable")]
    assert HOST not in {change["host"] for change in found["changes"]}
    assert copy.scs("plan", "--exit-code", expect=3).out.count("held: host unreachable") == 1
    assert copy.scs("plan", "--host", "testbed-1", "--json").json()["unreachable"] == []
    refused = copy.scs("plan", "--host", HOST, expect=2)
    assert f"host {HOST} is unreachable" in refused.err


def test_status_and_the_list_of_hosts_show_it(copy: RegionUnderTest) -> None:
    states = copy.scs("status", "nova_compute", "--json", expect=1).json()
    assert {s["host"]: s["state"] for s in states} == {"testbed-1": "running", HOST: "unreachable"}
    copy.scs("status", "nova_compute", "--host", "testbed-1")
    listed = {row["host"]: row["state"] for row in copy.scs("node", "list", "--json").json()}
    assert listed[HOST] == "unreachable"
