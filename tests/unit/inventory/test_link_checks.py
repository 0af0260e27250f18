# SPDX-License-Identifier: Apache-2.0
"""Invalid links yield all their problems; valid links yield none."""

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


VALID: dict[str, dict[str, dict[str, Any]]] = {
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
    "a gateway in addition to DHCP": {"eno1": {"dhcp": True, "gateway4": "192.0.2.1"}},
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

INVALID: dict[str, tuple[dict[str, dict[str, Any]], list[str]]] = {
    "VLAN larger than its parent": (
        {"eno1": {"mtu": 1500}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5, "mtu": 9000}},
        ["links.v.mtu: 9000 is larger than the 1500 of its parent eno1; raise the MTU of eno1, or lower this one"],
    ),
    "VLAN larger than a parent of the kernel's default": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5, "mtu": 1600}},
        ["links.v.mtu: 1600 is larger than the 1500 of its parent eno1; raise the MTU of eno1, or lower this one"],
    ),
    "bridge larger than the VLAN below, which takes its parent's": (
        {"eno1": {"mtu": 4000}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5},
         "br": {"kind": "bridge", "members": ["v"], "mtu": 9000}},
        ["links.br.mtu: 9000 is larger than the 4000 of its port v; raise the MTU of v, or lower this one"],
    ),
    "member of a bond with another MTU": (
        {"eno1": {"mtu": 9000}, "eno2": {}, "bond0": BOND},
        ["links.bond0.mtu: 1500 differs from the 9000 of its member eno1; "
         "members use their bond's MTU: set 9000 here, or remove the member's"],
    ),
    "member of two bonds": (
        {"eno1": {}, "eno2": {}, "bond0": BOND, "bond1": {"kind": "bond", "members": ["eno2"]}},
        ["links.bond1.members: eno2 is also a member of bond0; remove it from one"],
    ),
    "unknown parent": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno9", "vlan": 5}},
        ["links.v.parent: no link 'eno9'; available: eno1, v"],
    ),
    "unknown member": (
        {"eno1": {}, "bond0": BOND},
        ["links.bond0.members: no link 'eno2'; available: eno1, bond0"],
    ),
    "member listed twice": (
        {"eno1": {}, "b": {"kind": "bond", "members": ["eno1", "eno1"]}},
        ["links.b.members: eno1 is listed twice; list it once"],
    ),
    "VLAN ID out of range": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 4095}},
        ["links.v.vlan: 4095 is out of range; use 1 to 4094"],
    ),
    "VLAN ID 0": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 0}},
        ["links.v.vlan: 0 is out of range; use 1 to 4094"],
    ),
    "VLAN without ID and parent": (
        {"v": {"kind": "vlan"}},
        ["links.v.vlan: a VLAN needs a VLAN ID; set 1 to 4094",
         "links.v.parent: a VLAN needs a parent link; name the link that carries it"],
    ),
    "VLAN twice": (
        {"eno1": {}, "a": {"kind": "vlan", "parent": "eno1", "vlan": 5},
         "b": {"kind": "vlan", "parent": "eno1", "vlan": 5}},
        ["links.a.vlan: VLAN 5 on eno1 is also defined by b; remove one of them",
         "links.b.vlan: VLAN 5 on eno1 is also defined by a; remove one of them"],
    ),
    "VLAN on a bond's member": (
        {"eno1": {}, "eno2": {}, "bond0": BOND, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5}},
        ["links.v.parent: eno1 is a member of bond bond0; set parent: bond0"],
    ),
    "VLAN on a disabled link": (
        {"eno1": {"enabled": False}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5}},
        ["links.v.parent: eno1 is disabled; enable eno1, or disable v"],
    ),
    "address twice on a host": (
        {"eno1": {"addresses": ["192.0.2.2/24"]}, "eno2": {"addresses": ["192.0.2.2/25"]}},
        ["links.eno2.addresses: 192.0.2.2 is already used by eno1; use it once"],
    ),
    "address twice on a link": (
        {"eno1": {"addresses": ["192.0.2.2/24", "192.0.2.2/25"]}},
        ["links.eno1.addresses: 192.0.2.2 is already used by eno1; use it once"],
    ),
    "not a host address": (
        {"eno1": {"addresses": ["192.0.2.0/24", "192.0.2.255/24", "224.0.0.1/24", "2001:db8::/64"]}},
        ["links.eno1.addresses: 192.0.2.0/24 is the network address; use a host address in it",
         "links.eno1.addresses: 192.0.2.255/24 is the broadcast address; use a host address in the network",
         "links.eno1.addresses: 224.0.0.1/24 is not a host address; use a unicast address",
         "links.eno1.addresses: 2001:db8::/64 is the network address; use a host address in it"],
    ),
    "gateway outside every network": (
        {"eno1": {"addresses": ["192.0.2.2/24"], "gateway4": "198.51.100.1", "gateway6": "2001:db8::1"}},
        ["links.eno1.gateway4: 198.51.100.1 is outside of the link's networks (192.0.2.0/24); "
         "use a router that the link can reach",
         "links.eno1.gateway6: 2001:db8::1 is outside of the link's networks (no IPv6 address); "
         "use a router that the link can reach"],
    ),
    "gateway of the other IP version": (
        {"eno1": {"addresses": ["192.0.2.2/24"], "gateway6": "192.0.2.1"}},
        ["links.eno1.gateway6: 192.0.2.1 is an IPv4 address; use an IPv6 address"],
    ),
    "gateway is the host itself": (
        {"eno1": {"addresses": ["192.0.2.2/24"], "gateway4": "192.0.2.2"}},
        ["links.eno1.gateway4: 192.0.2.2 is this host's own address; use the router's address"],
    ),
    "two default gateways": (
        {"eno1": {"addresses": ["10.1.0.2/24"], "gateway4": "10.1.0.1"},
         "eno2": {"addresses": ["10.2.0.2/24"], "gateway4": "10.2.0.1"}},
        ["links.eno2.gateway4: 0.0.0.0/0 already has a route through eno1; "
         "remove one, or set different metrics"],
    ),
    "routes": (
        {"eno1": {"addresses": ["10.1.0.2/24"], "routes": [
            {"to": "10.9.0.0/16", "via": "10.8.0.1"}, {"to": "2001:db8::/32", "via": "10.1.0.1"},
            {"to": "10.7.0.0/16", "via": "10.1.0.1", "metric": -1}]}},
        ["links.eno1.routes: 10.8.0.1 is outside of the link's networks (10.1.0.0/24); "
         "use a router that the link can reach",
         "links.eno1.routes: 2001:db8::/32 via 10.1.0.1: IP versions differ; use an IPv6 next hop",
         "links.eno1.routes: 10.7.0.0/16: metric -1 is out of range; use 0 to 4294967295"],
    ),
    "keys of another kind": (
        {"eno1": {"members": ["eno2"], "mode": "802.3ad", "vlan": 5}, "eno2": {}},
        ["links.eno1.members: not valid for kind physical; remove it, or set kind: bond or bridge",
         "links.eno1.mode: not valid for kind physical; remove it, or set kind: bond",
         "links.eno1.vlan: not valid for kind physical; remove it, or set kind: vlan"],
    ),
    "bond mode": (
        {"eno1": {}, "eno2": {}, "bond0": {**BOND, "mode": "lacp"}},
        ["links.bond0.mode: unknown bond mode 'lacp'; use one of balance-rr, active-backup, balance-xor, broadcast, "
         "802.3ad, balance-tlb, balance-alb"],
    ),
    "bond without members": (
        {"bond0": {"kind": "bond"}}, ["links.bond0.members: a bond needs members; name its ports"]),
    "bond whose members are all disabled": (
        {"eno1": {"enabled": False}, "bond0": {"kind": "bond", "members": ["eno1"]}},
        ["links.bond0.members: all members are disabled; enable one, or disable the bond"],
    ),
    "bond of a VLAN": (
        {"eno1": {}, "v": {"kind": "vlan", "parent": "eno1", "vlan": 5}, "b": {"kind": "bond", "members": ["v"]}},
        ["links.b.members: v has kind vlan, which cannot be a port of a bond; use physical or dummy"],
    ),
    "member with an address": (
        {"eno1": {"addresses": ["10.1.0.2/24"]}, "br": {"kind": "bridge", "members": ["eno1"]}},
        ["links.br.members: eno1 has its own addresses or routes; move them to br"],
    ),
    "a VLAN that carries itself": (
        {"a": {"kind": "vlan", "parent": "b", "vlan": 1}, "b": {"kind": "vlan", "parent": "a", "vlan": 2}},
        ["links.a: is built on itself (a on b on a); break the cycle"],
    ),
    "MTU out of range, too small for IPv6": (
        {"eno1": {"mtu": 60}, "eno2": {"mtu": 1000, "addresses": ["2001:db8::2/64"]}, "eno3": {"mtu": 70000}},
        ["links.eno1.mtu: 60 is outside 68 to 65535; use bytes, such as 1500 or 9000",
         "links.eno2.mtu: 1000 is outside 1280 to 65535, IPv6 needs 1280; use bytes, such as 1500 or 9000",
         "links.eno3.mtu: 70000 is outside 68 to 65535; use bytes, such as 1500 or 9000"],
    ),
    "MAC": (
        {"eno1": {"mac": "aa:bb:cc"}, "eno2": {"mac": "01:00:5e:00:00:01"},
         "eno3": {"mac": "02:00:00:00:00:01"}, "eno4": {"mac": "02-00-00-00-00-01"}},
        ["links.eno1.mac: 'aa:bb:cc' is not a MAC address; use the form aa:bb:cc:dd:ee:ff",
         "links.eno2.mac: 01:00:5e:00:00:01 is not a unicast MAC address; use the address of the port",
         "links.eno4.mac: 02:00:00:00:00:01 is already used by eno3; use a unique MAC address"],
    ),
    "names": (
        {name: {} for name in ("a-name-of-16-let", "lo", "1234", "et/h", "eth*", "")},
        [f"links.{name}: invalid link name; use 1 to 15 letters, digits, '_', '.' or '-'; not only digits; "
         "not lo, all or default" for name in ("a-name-of-16-let", "lo", "1234", "et/h", "eth*", "")],
    ),
    "neighbour": (
        {"eno1": {"neighbour": "leaf-1"}},
        ["links.eno1.neighbour: 'leaf-1' is not a switch and port; use the form <switch>:<port>"],
    ),
    "name servers": (
        {"eno1": {"nameservers": ["0.0.0.0", "9.9.9.9", "9.9.9.9"]}},
        ["links.eno1.nameservers: 0.0.0.0 is not a host address; use a unicast address",
         "links.eno1.nameservers: contains duplicates; list each server once"],
    ),
}  # fmt: skip


def lines(host: str, checked: dict[str, Link], networks: dict[str, Place] | None = None) -> list[str]:
    return [str(p) for p in link_checks.problems(host, checked, networks)]


@pytest.mark.parametrize("case", VALID)
def test_valid_links(case: str) -> None:
    assert link_checks.problems("node-1", links(VALID[case])) == []


@pytest.mark.parametrize("case", INVALID)
def test_invalid_links(case: str) -> None:
    raw, expected = INVALID[case]
    assert lines("node-1", links(raw)) == [f"host node-1: {line}" for line in expected]


def test_all_problems_of_a_host_are_reported_at_once() -> None:
    raw = {**INVALID["MAC"][0], **INVALID["VLAN without ID and parent"][0]}
    assert len(link_checks.problems("node-1", links(raw))) == 5


NETWORKS = {
    "right": ("eno1", "192.0.2.2", 1500, []),
    "a link that scs does not manage": ("eth9", "192.0.2.2", 9000, []),
    "attached without an address": ("eno1", None, 1500, []),
    "another address": (
        "eno1", "192.0.2.3", 1500,
        ["networks.internal.address: links.eno1 does not have the address 192.0.2.3; "
         "add the address to the link, or name the link that has it"]),
    "larger packets than the link takes": (
        "eno1", "192.0.2.2", 9000,
        ["links.eno1.mtu: 1500 is less than the 9000 of network internal; "
         "raise it, or lower networks.internal.mtu in environment.yml"]),
    "a disabled link": (
        "eno2", "192.0.2.9", 1500,
        ["links.eno2.enabled: the link is disabled, but has the host's address on internal; enable it"]),
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_of_the_environment(case: str) -> None:
    link, address, mtu, expected = NETWORKS[case]
    place = Place(link, ip_address(address) if address else None, mtu)
    given = links({"eno1": {"addresses": ["192.0.2.2/24"]}, "eno2": {"addresses": ["192.0.2.9/24"], "enabled": False}})
    assert lines("n", given, {"internal": place}) == [f"host n: {line}" for line in expected]


def test_addresses_and_ports_belong_to_one_host() -> None:
    hosts = {
        "a": links({"eno1": {"addresses": ["192.0.2.2/24", "fe80::1/64"], "mac": "02:00:00:00:00:01"}}),
        "b": links({"eno1": {"addresses": ["192.0.2.2/24", "fe80::1/64"], "mac": "02:00:00:00:00:01"}}),
    }
    assert [str(p) for p in link_checks.shared(hosts)] == [
        "host b: links.eno1.addresses: 192.0.2.2 is also used by host a (links.eno1); use one per host",
        "host b: links.eno1.mac: 02:00:00:00:00:01 is also used by host a (links.eno1); use one per host",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [({"kind": "team"}, "links.eno1.kind"), ({"speed": 1}, "speed: unknown key"), ({"addresses": ["x"]}, "addresses")],
)
def test_the_error_for_an_unknown_value_names_its_key(value: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=message):
        validate(Link, value, tmp_path / "host_vars.yml", ("links", "eno1"))
