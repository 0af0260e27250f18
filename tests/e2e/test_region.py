# SPDX-License-Identifier: Apache-2.0
"""The region works, and keeps working when its parts are killed or restarted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import requests
from blackbox import RegionUnderTest, wait

if TYPE_CHECKING:
    from conftest import Server

pytestmark = pytest.mark.e2e

DATA_PLANE = ("nova_libvirt", "ovsdb_server", "ovs_vswitchd", "ovn_controller")


def test_nothing_to_change(region: RegionUnderTest) -> None:
    assert region.plan() == []


def test_every_check_passes_and_leaves_nothing(region: RegionUnderTest) -> None:
    report = region.scs("validate", "--json", expect=None).json()
    assert report["passed"], [r for r in report["results"] if r["verdict"] != "passed"]
    for kind in ("server", "network", "router", "image", "flavor"):
        names = [thing["Name"] for thing in region.openstack(kind, "list")]
        assert not [name for name in names if name.startswith("scs-validate-")], kind


def test_server_answers(region: RegionUnderTest, server: Server) -> None:
    assert ask(server) == server.id


def test_data_plane_restarts_leave_the_server_running(region: RegionUnderTest, server: Server) -> None:
    restarted = [(host, container) for host, container in region.containers() if container in DATA_PLANE]
    assert {container for _, container in restarted} == set(DATA_PLANE)
    boot = region.openstack("server", "show", server.id)["OS-SRV-USG:launched_at"]
    for host, container in restarted:
        region.on(host, "docker", "restart", container)
        region.wait_healthy(host, container)
    wait(lambda: ask(server) == server.id, 60, f"server {server.name} does not answer on {server.address}")
    shown = region.openstack("server", "show", server.id)
    assert (shown["status"], shown["OS-SRV-USG:launched_at"]) == ("ACTIVE", boot)


def ask(server: Server) -> str:
    """The instance id that the guest answers; empty when it does not."""
    try:
        return requests.get(f"http://{server.address}:8080/instance-id", timeout=5).text.strip()
    except requests.RequestException:
        return ""


def test_killed_containers_come_back(region: RegionUnderTest) -> None:
    slow = []
    for host, container in region.containers():
        before = region.inspect(host, container)["State"]["StartedAt"]
        start = time.monotonic()
        region.on(host, "docker", "kill", container)

        def again(host: str = host, container: str = container, before: str = before) -> bool:
            state = region.inspect(host, container)["State"]
            return bool(state["Running"]) and state["StartedAt"] != before

        wait(again, 60, f"{host}/{container} was killed and does not run again", 0.5)
        region.wait_healthy(host, container)
        slow.append((round(time.monotonic() - start, 1), container))
    print("seconds until healthy again:", sorted(slow, reverse=True))
    region.scs("status")
    assert region.plan() == []
    region.scs("validate", "services-up", "catalogue")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "keystoen"), "did you mean keystone"),
        (("apply", "--yes", "nosuchthing"), "no service, layer or container 'nosuchthing'"),
        (("plan", "--host", "nosuchhost"), "nosuchhost"),
        (("logs", "nova_compte"), "did you mean nova_compute"),
        (("validate", "floatingip"), "did you mean floating-ip"),
        (("runs", "show", "x"), "no run 'x'"),
        (("plan", "--environment", "nosuchregion"), "no environment 'nosuchregion'"),
    ],
)
def test_bad_input_gets_one_line_and_exit_2(region: RegionUnderTest, arguments: tuple[str, ...], message: str) -> None:
    finished = region.scs(*arguments, expect=2)
    assert message in finished.err
    assert len(finished.err.strip().splitlines()) == 1, finished.err
    assert "Traceback" not in finished.err
