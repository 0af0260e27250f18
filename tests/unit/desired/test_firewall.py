# SPDX-License-Identifier: Apache-2.0
"""The rules of a host's packet filter, read as rules: who gets in where, and who does not."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Any

import pytest

from scs_deploy.desired import firewall
from scs_deploy.desired.listeners import listening
from scs_deploy.environment.environment import Firewall, Opening
from scs_deploy.inventory.model import Inventory, grouped
from scs_deploy.region.region import Region
from tests.conftest import dummy_region

MANAGER, STRANGER = "172.30.2.1", "172.30.2.200"


@pytest.fixture(scope="module")
def region() -> Region:
    """Three hosts with every role, and one that only computes."""
    shipped = dummy_region("testbed-ha")
    first = shipped.inventory.hosts["ha-1"]
    networks = {
        "management": first.networks["management"].model_copy(update={"address": ipaddress.ip_address("172.30.2.21")}),
        "provider": first.networks["provider"].model_copy(update={"address": ipaddress.ip_address("172.30.3.21")}),
    }
    compute = first.model_copy(update={"name": "hv-1", "groups": ("all", "chassis", "compute"), "networks": networks})
    return dataclasses.replace(shipped, inventory=with_host(shipped.inventory, compute))


def with_host(inventory: Inventory, host: Any) -> Inventory:
    return grouped({**inventory.hosts, host.name: host})


class Table:
    """The parts of a table that decide about a new connection."""

    def __init__(self, text: str) -> None:
        self.sets = {
            name: [ipaddress.ip_network(e.strip()) for e in elements.split(",")]
            for name, elements in re.findall(r"set (\w+) \{\s+type ip[^}]*?elements = \{ ([^}]*) \}", text)
        }
        chain = text.partition("chain input {")[2].partition("\n  }")[0]
        self.rules = [line.strip() for line in chain.splitlines() if "dport" in line]

    def lets(self, source: str, destination: str, port: int, protocol: str = "tcp") -> bool:
        return any(self._matches(r, source, destination, port, protocol) for r in self.rules)

    def _matches(self, rule: str, source: str, destination: str, port: int, protocol: str) -> bool:
        ports = re.search(rf"{protocol} dport (\{{ [^}}]* \}}|\S+) accept", rule)
        if ports is None or "sport" in rule:
            return False
        wanted = ["22"] if ports[1] == "@ssh_ports" else ports[1].strip("{ }").split(", ")
        bounds = [(int(p.partition("-")[0]), int(p.rpartition("-")[2])) for p in wanted]
        if not any(low <= port <= high for low, high in bounds):
            return False
        if (at := re.search(r"ip daddr (\S+)", rule)) and at[1] != destination:
            return False
        if found := re.search(r"ip saddr (\{ [^}]* \}|\S+)", rule):
            name = found[1]
            networks = (
                self.sets.get(name[1:], []) if name.startswith("@")
                else [ipaddress.ip_network(n) for n in name.strip("{ }").split(", ")]
            )  # fmt: skip
            return any(ipaddress.ip_address(source) in n for n in networks)
        return "ip6 saddr" not in rule


def table(region: Region, host: str) -> Table:
    return Table(firewall.rules(region, region.inventory.hosts[host]))


def with_firewall(region: Region, **keys: Any) -> Region:
    settings = region.environment.settings.model_copy(update={"firewall": Firewall(**keys)})
    return dataclasses.replace(region, environment=region.environment.model_copy(update={"settings": settings}))


@pytest.mark.parametrize(
    ("source", "port", "allowed"),
    [
        ("172.30.2.12", 11211, True), ("172.30.2.21", 11211, False), (MANAGER, 11211, False), (STRANGER, 11211, False),
        ("172.30.2.21", 5671, True), (STRANGER, 5671, False),
        ("172.30.2.21", 6642, True), ("172.30.2.21", 6641, False), ("172.30.2.21", 4567, False),
        ("172.30.2.21", 25672, False), ("172.30.2.21", 3306, False), (MANAGER, 3306, True), (MANAGER, 15671, True),
        ("172.30.2.21", 16514, True), ("172.30.2.21", 49200, True), ("172.30.2.21", 5900, False),
        # processes behind HAProxy are the load balancers' only
        ("172.30.2.12", 8774, True), ("172.30.2.21", 8774, False), (MANAGER, 8774, False),
        (STRANGER, 22, True), ("172.30.3.5", 22, False), ("172.30.2.12", 6640, False),
    ],
)  # fmt: skip
def test_a_port_on_the_management_network_is_open_to_those_who_use_it(
    region: Region, source: str, port: int, allowed: bool
) -> None:
    assert table(region, "ha-1").lets(source, "172.30.2.11", port) is allowed


def test_the_external_address_is_open_to_anyone_and_the_internal_one_to_the_region(region: Region) -> None:
    rules = table(region, "ha-1")
    for source in ("198.51.100.7", STRANGER, "172.30.3.77"):
        assert rules.lets(source, "172.30.2.10", 5000)
        assert not rules.lets(source, "172.30.2.9", 5000)
        # the database has no public endpoint
        assert not rules.lets(source, "172.30.2.10", 3306)
    assert rules.lets("172.30.2.21", "172.30.2.9", 5000)
    assert not rules.lets("172.30.2.21", "172.30.2.9", 3306)
    assert rules.lets("172.30.2.12", "172.30.2.9", 3306)


def test_tunnels_come_from_hosts_with_a_switch_and_are_not_tracked(region: Region) -> None:
    text = firewall.rules(region, region.inventory.hosts["hv-1"])
    rules = Table(text)
    assert rules.lets("172.30.3.12", "172.30.3.21", 6081, "udp")
    assert not rules.lets("172.30.3.200", "172.30.3.21", 6081, "udp")
    assert text.count("udp dport 6081 notrack") == 2


def test_a_compute_host_opens_nothing_of_the_control_plane(region: Region) -> None:
    rules = table(region, "hv-1")
    for port in (3306, 4567, 5000, 5671, 6641, 11211):
        assert not rules.lets("172.30.2.12", "172.30.2.21", port)
    assert rules.lets("172.30.2.12", "172.30.2.21", 5900)


def test_a_hosts_address_from_another_network_counts_for_nothing(region: Region) -> None:
    for line in firewall.rules(region, region.inventory.hosts["ha-1"]).splitlines():
        if "_on_" in line and "accept" in line:
            assert "fib saddr . iif oif exists" in line, line


def test_everything_else_is_dropped(region: Region) -> None:
    text = firewall.rules(region, region.inventory.hosts["ha-1"])
    assert "hook input priority filter - 10; policy drop;" in text
    assert "hook forward priority filter - 10; policy drop;" in text
    # no other table is touched
    assert "flush" not in text
    assert set(re.findall(r"table (\S+ \S+)", text)) == {"inet scs"}


def test_a_new_host_changes_the_rules_of_the_others(region: Region) -> None:
    shipped = dummy_region("testbed-ha")
    host = shipped.inventory.hosts["ha-2"]
    assert "172.30.2.21" not in firewall.rules(shipped, host)
    assert "172.30.2.21" in firewall.rules(region, host)


def test_the_operators_openings_are_for_their_hosts_and_sources(region: Region) -> None:
    agent = Opening.model_validate({"ports": (9100, "9200-9205"), "sources": ("192.0.2.0/24",), "hosts": "control"})
    own = with_firewall(region, allow=(agent,), manager=(ipaddress.ip_network("203.0.113.0/24"),))
    rules = table(own, "ha-1")
    assert rules.lets("192.0.2.9", "172.30.2.11", 9100)
    assert rules.lets("192.0.2.9", "172.30.3.11", 9203)
    assert not rules.lets("192.0.3.9", "172.30.2.11", 9100)
    assert not table(own, "hv-1").lets("192.0.2.9", "172.30.2.21", 9100)
    assert rules.lets("203.0.113.9", "172.30.2.11", 22)
    assert rules.lets("203.0.113.9", "172.30.2.11", 15671)
    assert not rules.lets("203.0.113.9", "172.30.2.11", 11211)


@pytest.mark.parametrize("ports", [["0"], ["70000"], ["20-10"], ["ssh"], [""], []])
def test_an_opening_without_a_port_is_refused(ports: list[str]) -> None:
    with pytest.raises(ValueError, match=r"port|least"):
        Opening.model_validate({"ports": ports, "sources": ("192.0.2.0/24",)})


def test_ssh_listens_where_the_inventory_says(region: Region) -> None:
    host = region.inventory.hosts["ha-1"]
    other = host.model_copy(update={"connection": {**host.connection, "ansible_port": 2222}})
    assert "elements = { 2222 }" in firewall.rules(region, other)


def test_every_port_has_one_entry(region: Region) -> None:
    for host in region.inventory.hosts.values():
        keys = [one.key for one in listening(region, host)]
        assert len(keys) == len(set(keys))
