# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a host's links is told completely, and what is right is not complained about."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import validate
from scs_deploy.inventory import link_checks
from scs_deploy.inventory.link_checks import Place
from scs_deploy.inventory.links import Link

PORT = {"kind": "physical"}
BOND = {"kind": "bond", "members": ["eno1", "eno2"]}


def links(raw: dict[str, dict[str, Any]]) -> dict[str, Link]:
    return {name: Link.model_validate(value) for name, value in raw.items()}


RIGHT: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {},
    "bond, VLANs, bridge": {
        "eno1": PORT,
        "eno2": {"mac": "AA-BB-CC-DD-EE-02", "neighbour": "leaf-1:Ethernet1/2:3"},
        "bond0": {**BOND, "mtu": 9000, "mode": "active-backup"},
        "bond0.100": {"kind": "vlan", "parent": "bond0", "vlan": 100, "mtu": 9000, "addresses": ["192.0.2.2/24"],
                      "gateway4": "192.0.2.1", "nameservers": ["192.0.2.53", "2001:db8::53"]},
        "vlan200": {"kind": "vlan", "parent": "bond0", "vlan": 200},
        "br-ex": {"kind": "bridge", "members": ["vlan200"], "mtu": 9000},
    },
    "a bridge without ports": {"br0": {"kind": "bridge", "addresses": ["10.0.0.1/31"]}},
    "a gateway of a link-local address": {
        "eno1": {"addresses": ["2001:db8::2/64"], "gateway6": "fe80::1"}},
    "a gateway beside DHCP": {"eno1": {"dhcp": True, "gateway4": "192.0.2.1"}},
    "the same link-local address on two links": {
        "eno1": {"addresses": ["fe80::5/64"]}, "eno2": {"addresses": ["fe80::5/64"]}},
    "two default routes with different metrics": {
        "eno1": {"addresses": ["10.1.0.2/24"], "gateway4": "10.1.0.1"},
        "eno2": {"addresses": ["10.2.0.2/24"], "routes": [{"to": "0.0.0.0/0", "via": "10.2.0.1", "metric": 200}]},
    },
    "a VLAN in a VLAN": {
        "eno1": {"mtu": 1504}, "s0": {"kind": "vlan", "parent": "eno1", "vlan": 10, "mtu": 1504},
        "c0": {"kind": "vlan", "parent": "s0", "vlan": 10}},
}  # fmt: skip

WRONG: dict[str, tuple[dict[str, dict[str, Any]], list[str]]] = {
    "VLAN larger than its parent": (
        {"eno1": {"mtu": 1500}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5, "mtu": 9000}},
        ["links.v.mtu: 9000 is larger than the 1500 of its parent eno1; raise eno1's, or lower this"],
    ),
    "VLAN larger than a parent of the kernel's default": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5, "mtu": 1600}},
        ["links.v.mtu: 1600 is larger than the 1500 of its parent eno1; raise eno1's, or lower this"],
    ),
    "bridge larger than the VLAN below, which takes its parent's": (
        {"eno1": {"mtu": 4000}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5},
         "br": {"kind": "bridge", "members": ["v"], "mtu": 9000}},
        ["links.br.mtu: 9000 is larger than the 4000 of its port v; raise v's, or lower this"],
    ),
    "member of a bond with another MTU": (
        {"eno1": {"mtu": 9000}, "eno2": {}, "bond0": BOND},
        ["links.bond0.mtu: 1500, and its member eno1 has 9000; "
         "the kernel gives members their bond's: say mtu: 9000 here, or none there"],
    ),
    "member of two bonds": (
        {"eno1": {}, "eno2": {}, "bond0": BOND, "bond1": {"kind": "bond", "members": ["eno2"]}},
        ["links.bond1.members: eno2 is a member of bond0 too; a port has one master"],
    ),
    "unknown parent": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno9", "vlan": 5}},
        ["links.v.parent: no link 'eno9'; there are: eno1, v"],
    ),
    "unknown member": (
        {"eno1": {}, "bond0": BOND},
        ["links.bond0.members: no link 'eno2'; there are: eno1, bond0"],
    ),
    "member named twice": (
        {"eno1": {}, "b": {"kind": "bond", "members": ["eno1", "eno1"]}},
        ["links.b.members: eno1 is named twice; name it once"],
    ),
    "VLAN ID out of range": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 4095}},
        ["links.v.vlan: 4095 is out of range; 1 to 4094"],
    ),
    "VLAN ID 0": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 0}},
        ["links.v.vlan: 0 is out of range; 1 to 4094"],
    ),
    "VLAN without ID and parent": (
        {"v": {"kind": "vlan"}},
        ["links.v.vlan: a vlan needs its VLAN ID; give 1 to 4094",
         "links.v.parent: a vlan needs the link that carries it; name it"],
    ),
    "VLAN twice": (
        {"eno1": {}, "a": {"kind": "vlan", "parent": "eno1", "vlan": 5},
         "b": {"kind": "vlan", "parent": "eno1", "vlan": 5}},
        ["links.a.vlan: VLAN 5 of eno1 is b too; one link per VLAN and parent",
         "links.b.vlan: VLAN 5 of eno1 is a too; one link per VLAN and parent"],
    ),
    "VLAN on a bond's member": (
        {"eno1": {}, "eno2": {}, "bond0": BOND, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5}},
        ["links.v.parent: eno1 is a member of the bond bond0; say parent: bond0"],
    ),
    "VLAN on a link that is kept down": (
        {"eno1": {"enabled": False}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5}},
        ["links.v.parent: eno1 is kept down (enabled: false); enable eno1, or disable v"],
    ),
    "address twice on a host": (
        {"eno1": {"addresses": ["192.0.2.2/24"]}, "eno2": {"addresses": ["192.0.2.2/25"]}},
        ["links.eno2.addresses: 192.0.2.2 is given to eno1 already; give it once"],
    ),
    "address twice on a link": (
        {"eno1": {"addresses": ["192.0.2.2/24", "192.0.2.2/25"]}},
        ["links.eno1.addresses: 192.0.2.2 is given to eno1 already; give it once"],
    ),
    "no address of a host": (
        {"eno1": {"addresses": ["192.0.2.0/24", "192.0.2.255/24", "224.0.0.1/24", "2001:db8::/64"]}},
        ["links.eno1.addresses: 192.0.2.0/24 is the network itself; give a host's address in it",
         "links.eno1.addresses: 192.0.2.255/24 is the network's broadcast address; give a host's address in it",
         "links.eno1.addresses: 224.0.0.1/24 is no address of a host; give a unicast address",
         "links.eno1.addresses: 2001:db8::/64 is the network itself; give a host's address in it"],
    ),
    "gateway outside every network": (
        {"eno1": {"addresses": ["192.0.2.2/24"], "gateway4": "198.51.100.1", "gateway6": "2001:db8::1"}},
        ["links.eno1.gateway4: 198.51.100.1 is outside every network of this link (192.0.2.0/24); "
         "give a router that the link reaches",
         "links.eno1.gateway6: 2001:db8::1 is outside every network of this link (no IPv6 address); "
         "give a router that the link reaches"],
    ),
    "gateway of the other IP version": (
        {"eno1": {"addresses": ["192.0.2.2/24"], "gateway6": "192.0.2.1"}},
        ["links.eno1.gateway6: 192.0.2.1 is IPv4; give an IPv6 address"],
    ),
    "gateway is the host itself": (
        {"eno1": {"addresses": ["192.0.2.2/24"], "gateway4": "192.0.2.2"}},
        ["links.eno1.gateway4: 192.0.2.2 is this host's own address; give the router's"],
    ),
    "two default gateways": (
        {"eno1": {"addresses": ["10.1.0.2/24"], "gateway4": "10.1.0.1"},
         "eno2": {"addresses": ["10.2.0.2/24"], "gateway4": "10.2.0.1"}},
        ["links.eno2.gateway4: 0.0.0.0/0 has a route through eno1 already; "
         "remove one, or give routes with different metrics"],
    ),
    "routes": (
        {"eno1": {"addresses": ["10.1.0.2/24"], "routes": [
            {"to": "10.9.0.0/16", "via": "10.8.0.1"}, {"to": "2001:db8::/32", "via": "10.1.0.1"},
            {"to": "10.7.0.0/16", "via": "10.1.0.1", "metric": -1}]}},
        ["links.eno1.routes: 10.8.0.1 is outside every network of this link (10.1.0.0/24); "
         "give a router that the link reaches",
         "links.eno1.routes: 2001:db8::/32 via 10.1.0.1: two IP versions; give a next hop of the same",
         "links.eno1.routes: 10.7.0.0/16: metric -1 is out of range; 0 to 4294967295"],
    ),
    "keys of another kind": (
        {"eno1": {"members": ["eno2"], "mode": "802.3ad", "vlan": 5}, "eno2": {}},
        ["links.eno1.members: a physical has none; remove it, or say kind: bond or bridge",
         "links.eno1.mode: a physical has none; remove it, or say kind: bond",
         "links.eno1.vlan: a physical has none; remove it, or say kind: vlan"],
    ),
    "bond mode": (
        {"eno1": {}, "eno2": {}, "bond0": {**BOND, "mode": "lacp"}},
        ["links.bond0.mode: no bond mode 'lacp'; one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, "
         "balance-tlb, balance-alb"],
    ),
    "bond without members": (
        {"bond0": {"kind": "bond"}}, ["links.bond0.members: a bond needs members; name its ports"]),
    "bond whose members are all down": (
        {"eno1": {"enabled": False}, "bond0": {"kind": "bond", "members": ["eno1"]}},
        ["links.bond0.members: all are kept down (enabled: false); enable one, or disable the bond"],
    ),
    "bond of a VLAN": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5}, "b": {"kind": "bond", "members": ["v"]}},
        ["links.b.members: v is a vlan, a bond cannot have it as a port; it takes physical, dummy"],
    ),
    "member with an address": (
        {"eno1": {"addresses": ["10.1.0.2/24"]}, "br": {"kind": "bridge", "members": ["eno1"]}},
        ["links.br.members: eno1 has addresses or routes of its own; a port carries none: give them to br"],
    ),
    "a VLAN that carries itself": (
        {"a": {"kind": "vlan", "parent": "b", "vlan": 1}, "b": {"kind": "vlan", "parent": "a", "vlan": 2}},
        ["links.a: stands on itself (a on b on a); take one of them out"],
    ),
    "MTU out of range, too small for IPv6": (
        {"eno1": {"mtu": 60}, "eno2": {"mtu": 1000, "addresses": ["2001:db8::2/64"]}, "eno3": {"mtu": 70000}},
        ["links.eno1.mtu: 60 is not within 68 to 65535; bytes, such as 1500, 9000",
         "links.eno2.mtu: 1000 is not within 1280 to 65535, IPv6 needs 1280; bytes, such as 1500, 9000",
         "links.eno3.mtu: 70000 is not within 68 to 65535; bytes, such as 1500, 9000"],
    ),
    "MAC": (
        {"eno1": {"mac": "aa:bb:cc"}, "eno2": {"mac": "01:00:5e:00:00:01"},
         "eno3": {"mac": "02:00:00:00:00:01"}, "eno4": {"mac": "02-00-00-00-00-01"}},
        ["links.eno1.mac: 'aa:bb:cc' is no MAC address; write it as aa:bb:cc:dd:ee:ff",
         "links.eno2.mac: 01:00:5e:00:00:01 is no address of a single port; take the one on the device",
         "links.eno4.mac: 02:00:00:00:00:01 is eno3's already; each port has its own"],
    ),
    "names": (
        {name: {} for name in ("a-name-of-16-let", "lo", "1234", "et/h", "eth*", "")},
        [f"links.{name}: no name for a link; 1 to 15 letters, digits, '_', '.', '-', not only digits, "
         "not lo, all or default" for name in ("a-name-of-16-let", "lo", "1234", "et/h", "eth*", "")],
    ),
    "neighbour": (
        {"eno1": {"neighbour": "leaf-1"}},
        ["links.eno1.neighbour: 'leaf-1' names no switch and port; write <switch>:<port>"],
    ),
    "name servers": (
        {"eno1": {"nameservers": ["0.0.0.0", "9.9.9.9", "9.9.9.9"]}},
        ["links.eno1.nameservers: 0.0.0.0 is no address of a host; give a unicast address",
         "links.eno1.nameservers: one is given twice; give it once"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_right(case: str) -> None:
    assert link_checks.problems("node-1", links(RIGHT[case])) == []


@pytest.mark.parametrize("case", WRONG)
def test_wrong(case: str) -> None:
    raw, expected = WRONG[case]
    assert link_checks.problems("node-1", links(raw)) == [f"host node-1: {line}" for line in expected]


def test_all_problems_of_a_host_are_told_at_once() -> None:
    raw = {**WRONG["MAC"][0], **WRONG["VLAN without ID and parent"][0]}
    assert len(link_checks.problems("node-1", links(raw))) == 5


NETWORKS = {
    "right": ("eno1", "192.0.2.2", 1500, []),
    "a link that is somebody else's": ("eth9", "192.0.2.2", 9000, []),
    "attached without an address": ("eno1", None, 1500, []),
    "another address": (
        "eno1", "192.0.2.3", 1500,
        ["networks.internal.address: 192.0.2.3 is not among the addresses of links.eno1; "
         "give the link this address, or name the link that has it"]),
    "larger packets than the link takes": (
        "eno1", "192.0.2.2", 9000,
        ["links.eno1.mtu: 1500 is less than the 9000 of network internal; "
         "raise it, or lower networks.internal.mtu in environment.yml"]),
    "a link that is kept down": (
        "eno2", "192.0.2.9", 1500,
        ["links.eno2.enabled: kept down, and it has the host's address on internal; enable it"]),
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_of_the_environment(case: str) -> None:
    link, address, mtu, expected = NETWORKS[case]
    place = Place(link, ip_address(address) if address else None, mtu)
    given = links({"eno1": {"addresses": ["192.0.2.2/24"]}, "eno2": {"addresses": ["192.0.2.9/24"], "enabled": False}})
    assert link_checks.problems("n", given, {"internal": place}) == [f"host n: {line}" for line in expected]


def test_addresses_and_ports_belong_to_one_host() -> None:
    hosts = {
        "a": links({"eno1": {"addresses": ["192.0.2.2/24", "fe80::1/64"], "mac": "02:00:00:00:00:01"}}),
        "b": links({"eno1": {"addresses": ["192.0.2.2/24", "fe80::1/64"], "mac": "02:00:00:00:00:01"}}),
    }
    assert link_checks.shared(hosts) == [
        "host b: links.eno1.addresses: 192.0.2.2 is host a's too (links.eno1); give each host its own",
        "host b: links.eno1.mac: 02:00:00:00:00:01 is host a's too (links.eno1); give each host its own",
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [({"kind": "team"}, "links.eno1.kind"), ({"speed": 1}, "speed: unknown key"), ({"addresses": ["x"]}, "addresses")],
)
def test_what_has_no_meaning_is_refused_with_its_key(value: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=told):
        validate(Link, value, tmp_path / "host_vars.yml", ("links", "eno1"))
