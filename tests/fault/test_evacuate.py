# SPDX-License-Identifier: Apache-2.0
"""`scs node evacuate` on a region of three nodes: guests of a lost node go on elsewhere with what they had written.

Runs on the testbed `ha` with nothing to change; takes about half an hour on two cores.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.region.region import Region
from scs_deploy.validate.console import guest_lines
from tests.e2e.blackbox import RegionUnderTest, wait
from tests.fault.faults import Cut, Node
from tests.fault.members import Membership
from tests.fault.test_node_verbs import rows, three_nodes, whole

pytestmark = pytest.mark.fault

SCRIPT = """\
#!/bin/sh
# A line in each sector of the guest's own disk, far behind what it boots from; it is said once the storage has it.
disk=/dev/vda base=524288
line() { dd if=$disk bs=512 skip=$((base + $1)) count=1 2>/dev/null | tr -d '\\000'; }
last=0
while [ "$(line $((last + 1)))" = "line $((last + 1))" ]; do last=$((last + 1)); done
echo "scs-guest: kept last=$last"
while echo "line $((last + 1))" | dd of=$disk bs=512 seek=$((base + last + 1)) conv=sync,fsync,notrunc 2>/dev/null; do
    last=$((last + 1))
    echo "scs-guest: wrote last=$last"
    sleep 1
done &
"""
DEADLINE = 600
"""Seconds for what emulated guests and three nodes on two cores do: boot, notice a loss, come back."""


@dataclass(frozen=True)
class Guests:
    """Two guests on one node."""

    writer: str
    off: str
    host: str


@pytest.fixture(scope="module")
def ha() -> RegionUnderTest:
    found = three_nodes()
    whole(found)
    return found


@pytest.fixture(scope="module")
def parts(ha: RegionUnderTest) -> Iterator[str]:
    """Image, flavor and network of that name, left by a validation."""
    yield f"scs-validate-{ha.scs('validate', 'floating-ip', '--keep', '--json').json()['id']}"
    # the next validation removes what this one kept
    ha.scs("validate", "flavor")


@pytest.fixture
def guests(ha: RegionUnderTest, parts: str, tmp_path: Path) -> Iterator[Guests]:
    """One guest writes numbered lines, one is shut off."""
    (tmp_path / "script").write_text(SCRIPT, encoding="utf-8")
    made = itertools.count(1)
    ids: list[str] = []

    def create(*more: str) -> str:
        name = f"scs-evacuate-{next(made)}"
        place = ("--image", parts, "--flavor", parts, "--network", parts, "--security-group", parts)
        ids.append(ha.openstack("server", "create", *place, *more, "--wait", name)["id"])
        return ids[-1]

    try:
        writer = create("--user-data", str(tmp_path / "script"))
        host = str(server(ha, writer)["OS-EXT-SRV-ATTR:host"])
        off = create("--availability-zone", f"nova:{host}")
        ha.scs("openstack", "server", "stop", off)
        wait(lambda: server(ha, off)["status"] == "SHUTOFF", DEADLINE, "the guest is not shut off")
        wait(lambda: written(ha, writer) >= 10, DEADLINE, "the guest has not written ten lines")
        yield Guests(writer, off, host)
    finally:
        for guest in ids:
            ha.scs("openstack", "server", "delete", "--wait", guest, expect=None)


def server(region: RegionUnderTest, guest: str) -> dict[str, Any]:
    found: dict[str, Any] = region.openstack("server", "show", guest)
    return found


def said(region: RegionUnderTest, guest: str, word: str) -> int | None:
    """The latest number that a guest said with this word on its console."""
    console = region.scs("openstack", "console", "log", "show", guest, expect=None).out
    last = guest_lines(console).get(word, {}).get("last")
    return None if last is None else int(last)


def written(region: RegionUnderTest, guest: str) -> int:
    """How many lines the storage acknowledged, as far as the guest has said it."""
    return said(region, guest, "wrote") or 0


def refusals(region: RegionUnderTest, host: str) -> list[str]:
    made = region.scs("node", "evacuate", host, "--plan", "--json", expect=None)
    return [r["reason"] for r in made.json()["refusals"]]


def kill(region: RegionUnderTest, node: Node) -> Callable[[], None]:
    """Its power fails."""
    del region
    node.kill()
    return node.start


def cut_off(region: RegionUnderTest, node: Node) -> Callable[[], None]:
    """It runs on, with its guests, and hears nobody."""
    interfaces = Membership(Region.load(region.name)).interfaces[node.host]
    return node.cut(interfaces.values(), Cut.CABLE)


def leftovers(node: Node) -> str:
    """Guests that libvirt knows on a node, running or not."""
    return node.inside("nova_libvirt", "virsh", "--quiet", "--connect", "qemu:///system", "list", "--all", "--uuid")


@pytest.mark.parametrize("lose", [kill, cut_off])
def test_guests_of_a_lost_node_go_on_elsewhere(
    ha: RegionUnderTest, guests: Guests, lose: Callable[[RegionUnderTest, Node], Callable[[], None]]
) -> None:
    host, node = guests.host, Node(guests.host)
    assert ha.scs("node", "evacuate", host, "--yes", expect=2).err.count("\n") == 1, "it is reachable"
    acknowledged = written(ha, guests.writer)
    bring_back = lose(ha, node)
    lost = time.monotonic()
    try:
        print(f"{host}, seconds after its loss: {refusals(ha, host)}")
        wait(lambda: refusals(ha, host) == [], DEADLINE, "the loss is not noticed")
        print(f"noticed after {time.monotonic() - lost:.0f} s")

        began = time.monotonic()
        ha.scs("node", "evacuate", host, "--yes")
        print(f"evacuated in {time.monotonic() - began:.0f} s, {time.monotonic() - lost:.0f} s after the loss")
        found = server(ha, guests.writer)
        assert (found["status"], found["OS-EXT-SRV-ATTR:host"] != host) == ("ACTIVE", True)
        found = server(ha, guests.off)
        assert (found["status"], found["OS-EXT-SRV-ATTR:host"] != host) == ("SHUTOFF", True)
        wait(lambda: said(ha, guests.writer, "kept") is not None, DEADLINE, "the guest does not boot")
        kept = said(ha, guests.writer, "kept") or 0
        print(f"{acknowledged} lines were acknowledged, {kept} are there")
        assert kept >= acknowledged

        assert ha.scs("node", "evacuate", host, "--plan", "--json").json()["steps"] == []
        assert rows(ha)[host]["state"] == "evacuated"
    finally:
        bring_back()
    wait(lambda: not rows(ha)[host]["unreachable"], DEADLINE, "the node is not back")
    assert f"{host} is evacuated" in ha.scs("status", "nova", expect=None).out
    assert "scs node undrain" in ha.scs("node", "drain", host, "--yes", expect=2).err

    ha.scs("node", "undrain", host, "--yes")
    whole(ha)
    assert guests.writer not in leftovers(node)
    assert guests.off not in leftovers(node)
    assert "scs/fence" not in node.inside("ceph_mon", "ceph", "config-key", "ls")
    found = ha.scs("plan", "--json").json()
    assert (found["changes"], found["drained"], found["evacuated"], found["held"]) == ([], [], [], [])
    # nobody else wrote to its disk meanwhile
    wait(lambda: written(ha, guests.writer) > kept + 10, DEADLINE, "the guest does not write")
    before = written(ha, guests.writer)
    ha.scs("openstack", "server", "reboot", "--hard", "--wait", guests.writer)
    wait(lambda: (said(ha, guests.writer, "kept") or 0) >= before, DEADLINE, "written lines are gone")
