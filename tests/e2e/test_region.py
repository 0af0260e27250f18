# SPDX-License-Identifier: Apache-2.0
"""The region works, and keeps working when its parts are killed or restarted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from scs_deploy.base import icmp
from scs_deploy.environment import environment as environments
from scs_deploy.secrets import clouds
from tests.e2e.blackbox import RegionUnderTest, wait

if TYPE_CHECKING:
    from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

DATA_PLANE = ("nova_libvirt", "ovsdb_server", "ovs_vswitchd", "ovn_controller")
ROUNDS, TOGETHER = 5, 4
LONGEST_OUTAGE = 20.0
"""Seconds without an answer to a ping that the restart of a virtual switch may cost."""


def test_nothing_to_change(region: RegionUnderTest) -> None:
    assert region.plan() == []


def test_servers_boot_and_answer(report: dict[str, Any]) -> None:
    assert report["passed"], [r for r in report["results"] if r["verdict"] != "passed"]
    assert {"server", "console-log", "floating-ip"} <= {r["check"] for r in report["results"]}


def test_server_answers(region: RegionUnderTest, server: Server) -> None:
    assert ask(server) == server.id


def allocated(region: RegionUnderTest) -> int:
    """Virtual CPUs that servers use, as Placement knows it."""
    placement = clouds.connect(environments.load(region.name)).placement
    found = [placement.get(f"/resource_providers/{p.id}/usages").json() for p in placement.resource_providers()]
    return sum(f["usages"].get("VCPU", 0) for f in found)


@pytest.mark.long
def test_servers_that_come_and_go_side_by_side_end_in_no_error(region: RegionUnderTest, server: Server) -> None:
    """Their records in Nova's database are written from several processes at once."""
    before = allocated(region)
    for number in range(ROUNDS):
        prefix = f"scs-many-{number}"
        kind = ("--image", server.name, "--flavor", server.name, "--network", server.name)
        region.openstack("server", "create", *kind, "--min", str(TOGETHER), "--max", str(TOGETHER), prefix)
        made: dict[str, str] = {}

        def statuses(prefix: str = prefix, made: dict[str, str] = made) -> set[str]:
            found = {s["ID"]: s["Status"] for s in region.openstack("server", "list", "--name", prefix)}
            made.update(found)
            return set(found.values())

        try:
            wait(lambda: statuses() <= {"ACTIVE", "ERROR"}, 600, "servers are not built")
            assert len(made) == TOGETHER
            assert set(made.values()) == {"ACTIVE"}, made
        finally:
            statuses()
            region.scs("openstack", "server", "delete", *made, timeout=300)
        wait(lambda: statuses() <= {"ERROR"}, 300, "servers are not deleted")
        assert statuses() == set(), "a delete ended in ERROR"
        # a server is gone before what it used is free, which the next ones need
        wait(lambda: allocated(region) <= before, 60, f"not freed: {before} virtual CPUs were used before")


def test_data_plane_restarts_leave_the_server_running(region: RegionUnderTest, server: Server) -> None:
    restarted = [(host, container) for host, container in region.containers() if container in DATA_PLANE]
    assert {container for _, container in restarted} == set(DATA_PLANE)
    before = guest(region, server)
    for host, container in restarted:
        with Pings(server.address) as pings:
            took = region.cycle(host, "restart", [container])[container]
            wait(lambda: ask(server) == server.id, 60, f"server {server.name} does not answer on {server.address}")
        print(f"{host}/{container} restarted, works after {took} s: {pings}")
        assert pings.longest < LONGEST_OUTAGE, f"{container}: {pings}"
    assert guest(region, server) == before


def test_a_guests_interface_that_was_set_down_comes_up(region: RegionUnderTest, server: Server) -> None:
    port = next(p for p in region.openstack("port", "list", "--server", server.id))
    name = f"tap{port['ID'][:11]}"
    host = region.openstack("server", "show", server.id)["OS-EXT-SRV-ATTR:host"]
    region.on(host, "ip", "link", "set", name, "down")
    wait(lambda: ask(server) == server.id, 60, f"server {server.name} does not answer on {server.address}")
    assert "UP" in region.on(host, "ip", "-brief", "link", "show", name).split("<")[1]


@pytest.mark.long
def test_killed_containers_come_back(region: RegionUnderTest, server: Server) -> None:
    before = guest(region, server)
    containers = region.containers()
    took: dict[str, float] = {}
    for host in sorted({host for host, _ in containers}):
        took |= region.cycle(host, "kill", [c for h, c in containers if h == host])
    print("seconds until healthy again:", dict(sorted(took.items(), key=lambda item: -item[1])))
    region.scs("status")
    assert region.plan() == []
    wait(lambda: ask(server) == server.id, 60, f"server {server.name} does not answer on {server.address}")
    assert guest(region, server) == before
    region.scs("validate", "services-up", "catalogue")


def guest(region: RegionUnderTest, server: Server) -> tuple[str, str, str]:
    """Status of a server, when it was launched, and its emulator's process."""
    shown = region.openstack("server", "show", server.id)
    host = shown["OS-EXT-SRV-ATTR:host"]
    processes = region.on(host, "pgrep", "--full", f"qemu.*{server.id}")
    return shown["status"], shown["OS-SRV-USG:launched_at"], processes


def ask(server: Server) -> str:
    """The instance id that the guest answers; empty when it does not."""
    try:
        return requests.get(f"http://{server.address}:8080/instance-id", timeout=5).text.strip()
    except requests.RequestException:
        return ""


class Pings:
    """Pings an address five times a second while its block runs."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent = self.lost = 0
        self.longest = 0.0
        """seconds between two answers"""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ping)

    def _ping(self) -> None:
        answered = time.monotonic()
        while not self._done.wait(0.2):
            self.sent += 1
            try:
                icmp.ping(self.address, timeout=0.5, sequence=self.sent % 65536)
            except OSError:
                self.lost += 1
            else:
                now = time.monotonic()
                self.longest, answered = max(self.longest, now - answered), now
        self.longest = max(self.longest, time.monotonic() - answered)

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def __str__(self) -> str:
        return f"{self.lost} of {self.sent} pings lost, longest silence {self.longest:.1f} s"
