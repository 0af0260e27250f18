# SPDX-License-Identifier: Apache-2.0
"""The differences between two inventories and their effects on services."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.inventory import graph, synced
from scs_deploy.inventory.diff import Diff, HostChange, compare
from scs_deploy.inventory.model import Host, Inventory, grouped
from scs_deploy.spec.catalog import load as load_catalog

GOLDEN = Path(__file__).parents[2] / "golden" / "netbox" / "small.yml"
CATALOG = load_catalog()


@pytest.fixture(scope="module")
def small() -> Inventory:
    return synced.load(GOLDEN).inventory()


def changed(inventory: Inventory, name: str, **values: Any) -> Inventory:
    """The inventory with one host's fields replaced, as a source would have given them."""
    data = {**inventory.hosts[name].model_dump(), **values}
    return grouped({**inventory.hosts, name: Host.model_validate(data)})


def only(found: Diff) -> HostChange:
    assert len(found.hosts) == 1
    return found.hosts[0]


def test_equal_inventories_have_no_differences(small: Inventory) -> None:
    assert compare(small, grouped(dict(reversed(small.hosts.items()))), CATALOG).empty


def test_an_added_control_node_names_its_services_and_the_quorum(small: Inventory) -> None:
    old = grouped({n: h for n, h in small.hosts.items() if n != "testbed-node-2"})
    found = compare(old, small, CATALOG)
    change = only(found)
    assert (change.host, change.kind) == ("testbed-node-2", "added")
    runs = next(e for e in change.effects if e.startswith("runs "))
    assert {"mariadb", "rabbitmq", "keystone", "nova", "ovn"} <= set(runs.removeprefix("runs ").split(", "))
    assert "group control: 2 -> 3 hosts" in found.region
    assert any("mariadb" in line and "3 members, tolerates the loss of 1" in line for line in found.region)
    assert any("scs node add" in e for e in change.effects)


def test_the_effects_of_a_removed_host_name_scs_node_remove(small: Inventory) -> None:
    new = grouped({n: h for n, h in small.hosts.items() if n != "testbed-node-2"})
    found = compare(small, new, CATALOG)
    assert only(found).kind == "removed"
    assert any("scs node remove" in e for e in only(found).effects)
    assert any("2 members" in line and "even number: scs plan refuses it" in line for line in found.region)


def test_the_effects_of_a_changed_address_name_the_cluster_members(small: Inventory) -> None:
    networks = small.hosts["testbed-node-1"].model_dump()["networks"]
    networks["management"]["address"] = "192.168.16.111"
    new = changed(small, "testbed-node-1", networks=networks, address="192.168.16.111")
    change = only(compare(small, new, CATALOG))
    assert "network management: address: 192.168.16.11 -> 192.168.16.111" in change.facts
    assert "its certificates are reissued" in change.effects
    assert any("mariadb" in e and "the other members know it by its address" in e for e in change.effects)


def test_an_added_group_names_its_services(small: Inventory) -> None:
    old = changed(small, "testbed-manager", groups=("manager", "monitoring"))
    new = changed(small, "testbed-manager", groups=("chassis", "compute", "manager", "monitoring"))
    change = only(compare(old, new, CATALOG))
    assert change.facts == ("group chassis: added", "group compute: added")
    assert change.effects[0].startswith("will run ")
    assert "nova" in change.effects[0]
    assert "mariadb" not in change.effects[0]


@pytest.mark.parametrize(
    ("values", "fact", "effect"),
    [
        (
            {"settings": {"nova_cpu_mode": "custom", "ovn_tunnel_network": "tunnel"}},
            "variable nova_cpu_mode: host-model -> custom",
            "reconfigured: nova",
        ),
        ({"zone": "other"}, "zone: testbed-A1 -> other", ""),
        ({"oob": "10.10.0.99"}, "management controller: 10.10.0.11 -> 10.10.0.99", ""),
        ({"disks": ()}, "disk /dev/nvme1n1: nvme -> none", ""),
        ({"connection": {"ansible_port": 2222}}, "variable ansible_port: 22 -> 2222", ""),
        ({"links": {}}, "link bond0: removed", "its network configuration is rewritten (scs bootstrap)"),
    ],
)
def test_facts_and_their_effects(small: Inventory, values: dict[str, Any], fact: str, effect: str) -> None:
    change = only(compare(small, changed(small, "testbed-node-1", **values), CATALOG))
    assert fact in change.facts
    assert not effect or any(e.startswith(effect) for e in change.effects)


def test_a_changed_mtu_names_the_link_and_both_values(small: Inventory) -> None:
    links = small.hosts["testbed-node-1"].model_dump()["links"]
    links["bond0.48"]["mtu"] = 9000
    change = only(compare(small, changed(small, "testbed-node-1", links=links), CATALOG))
    assert change.facts == ("link bond0.48 mtu: 9100 -> 9000",)


def test_the_picture_is_svg_and_names_every_host_group_and_service(small: Inventory) -> None:
    text = graph.svg("small & <co>", small, CATALOG)
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    shown = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "small & <co>: 4 hosts" in shown
    for group, hosts in small.groups.items():
        assert f"{group} ({len(hosts)})" in shown
    assert all(shown.count(h.name) == len(h.groups) for h in small.hosts.values())
    assert any("mariadb" in s for s in shown)
    height = float(root.get("height", "0"))
    boxes = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert all(float(b.get("y", "0")) + float(b.get("height", "0")) <= height for b in boxes)


def test_the_picture_is_the_same_for_the_same_inventory(small: Inventory) -> None:
    assert graph.svg("a", small, CATALOG) == graph.svg("a", grouped(dict(reversed(small.hosts.items()))), CATALOG)
