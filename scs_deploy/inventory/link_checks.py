# SPDX-License-Identifier: Apache-2.0
"""Check the links of one host, and of all hosts together. All problems are reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NamedTuple

from scs_deploy.base.model import IPAddress
from scs_deploy.inventory.links import BOND_MODES, DEFAULT_MTU, Link

Links = Mapping[str, Link]


class Place(NamedTuple):
    """The link of a host on a network of the environment."""

    link: str
    """name of the link"""
    address: IPAddress | None
    """absent: attached without an address"""
    mtu: int
    """bytes, of the network"""


class LinkProblem(NamedTuple):
    """One problem of a host's links or networks."""

    host: str
    key: str
    """path of the key in the host, such as `links.eno1.mtu`"""
    what: str
    hint: str

    def __str__(self) -> str:
        return f"host {self.host}: {self.key}: {self.what}; {self.hint}"


class _Problem(NamedTuple):
    key: str
    what: str
    hint: str


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_RESERVED = ("lo", "all", "default", "bonding_masters")
"""The loopback, and names with another meaning in /proc/sys/net and /sys/class/net."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NEIGHBOUR = re.compile(r"[^\s:]+:\S+")
_KEYS = {"members": ("bond", "bridge"), "mode": ("bond",), "parent": ("vlan",), "vlan": ("vlan",)}
_PORTS = {"bond": ("physical", "dummy"), "bridge": ("physical", "dummy", "bond", "vlan")}
_LEAST_MTU, _LEAST_MTU6, _MOST_MTU = 68, 1280, 65535
"""RFC 791, RFC 8200, and the maximum of a 16-bit length."""


def problems(host: str, links: Links, networks: Mapping[str, Place] | None = None) -> list[LinkProblem]:
    """All problems of one host's links, in the order of the links.

    :param networks: the environment's networks on this host, by name; checked against the links that they name
    """
    found: list[_Problem] = []
    for name, link in links.items():
        found += [p._replace(key=f"links.{name}{p.key}") for p in _own(name, link)]
        found += [p._replace(key=f"links.{name}{p.key}") for p in _relations(name, link, links)]
        found += [p._replace(key=f"links.{name}{p.key}") for p in _routing(link)]
    found += _cycles(links)
    found += _shared_ports(links)
    found += _given_twice(links)
    found += _default_routes(links)
    for network, place in (networks or {}).items():
        found += _place(network, place, links)
    return [LinkProblem(host, *p) for p in found]


def shared(hosts: Mapping[str, Links]) -> list[LinkProblem]:
    """Addresses, and MAC addresses of physical ports, that several hosts have.

    :param hosts: the links of every host, by host name
    """
    seen: dict[str, tuple[str, str]] = {}
    duplicates = []
    for host, links in hosts.items():
        for name, link in links.items():
            own = [(".addresses", str(a.ip)) for a in link.addresses if not a.is_link_local]
            own += [(".mac", link.mac)] if link.mac and link.kind == "physical" else []
            for key, value in own:
                other, where = seen.setdefault(value, (host, name))
                if other != host:
                    what = f"{value} is also used by host {other} (links.{where})"
                    duplicates.append(LinkProblem(host, f"links.{name}{key}", what, "use one per host"))
    return duplicates


def effective_mtu(name: str, links: Links, _above: tuple[str, ...] = ()) -> int:
    """The effective MTU of a link in bytes: its own, or the inherited one.

    A VLAN inherits its parent's MTU, a bridge the smallest of its ports, and a member that of its bond.
    """
    link = links.get(name)
    if link is None or name in _above:
        return DEFAULT_MTU
    if link.mtu is not None:
        return link.mtu
    if link.kind == "bridge" and link.members:
        return min(effective_mtu(port, links, (*_above, name)) for port in link.members)
    if link.kind == "vlan" and link.parent:
        return effective_mtu(link.parent, links, (*_above, name))
    for bond in links.values():
        if bond.kind == "bond" and name in bond.members:
            return bond.mtu or DEFAULT_MTU
    return DEFAULT_MTU


# one link on its own


def _own(name: str, link: Link) -> Iterator[_Problem]:
    if not _NAME.fullmatch(name) or name.isdigit() or name in _RESERVED:
        yield _Problem(
            "", "invalid link name",
            "use 1 to 15 letters, digits, '_', '.' or '-'; not only digits; not lo, all or default",
        )  # fmt: skip
    for key, kinds in _KEYS.items():
        if getattr(link, key) and link.kind not in kinds:
            yield _Problem(
                f".{key}", f"not valid for kind {link.kind}", f"remove it, or set kind: {' or '.join(kinds)}"
            )
    if link.mac is not None:
        if not _MAC.fullmatch(link.mac):
            yield _Problem(".mac", f"'{link.mac}' is not a MAC address", "use the form aa:bb:cc:dd:ee:ff")
        elif int(link.mac[:2], 16) & 1 or link.mac == "00:00:00:00:00:00":
            yield _Problem(".mac", f"{link.mac} is not a unicast MAC address", "use the address of the port")
    if link.mtu is not None:
        least = _LEAST_MTU6 if any(a.version == 6 for a in link.addresses) else _LEAST_MTU
        if not least <= link.mtu <= _MOST_MTU:
            why = ", IPv6 needs 1280" if least == _LEAST_MTU6 and link.mtu >= _LEAST_MTU else ""
            yield _Problem(
                ".mtu", f"{link.mtu} is outside {least} to {_MOST_MTU}{why}", "use bytes, such as 1500 or 9000"
            )
    if link.kind == "bond" and link.mode is not None and link.mode not in BOND_MODES:
        yield _Problem(".mode", f"unknown bond mode '{link.mode}'", f"use one of {', '.join(BOND_MODES)}")
    if link.kind == "vlan":
        if link.vlan is None:
            yield _Problem(".vlan", "a VLAN needs a VLAN ID", "set 1 to 4094")
        elif not 1 <= link.vlan <= 4094:
            yield _Problem(".vlan", f"{link.vlan} is out of range", "use 1 to 4094")
        if not link.parent:
            yield _Problem(".parent", "a VLAN needs a parent link", "name the link that carries it")
    if link.kind == "bond" and not link.members:
        yield _Problem(".members", "a bond needs members", "name its ports")
    if link.neighbour is not None and not _NEIGHBOUR.fullmatch(link.neighbour):
        yield _Problem(".neighbour", f"'{link.neighbour}' is not a switch and port", "use the form <switch>:<port>")
    for address in link.addresses:
        network, wide = address.network, address.max_prefixlen - address.network.prefixlen > 1
        if address.ip.is_multicast or address.ip.is_unspecified or address.ip.is_loopback:
            yield _Problem(".addresses", f"{address} is not a host address", "use a unicast address")
        elif wide and address.ip == network.network_address:
            yield _Problem(".addresses", f"{address} is the network address", "use a host address in it")
        elif wide and address.version == 4 and address.ip == network.broadcast_address:
            yield _Problem(".addresses", f"{address} is the broadcast address", "use a host address in the network")


# a link and the links that it is built on


def _relations(name: str, link: Link, links: Links) -> Iterator[_Problem]:
    if link.parent and link.kind == "vlan":
        yield from _under_vlan(name, link, link.parent, links)
    for member in dict.fromkeys(link.members):
        if link.kind not in _PORTS:
            continue
        port = links.get(member)
        if link.members.count(member) > 1:
            yield _Problem(".members", f"{member} is listed twice", "list it once")
        if port is None:
            yield _unknown(".members", member, links)
            continue
        if port.kind not in _PORTS[link.kind]:
            yield _Problem(
                ".members", f"{member} has kind {port.kind}, which cannot be a port of a {link.kind}",
                f"use {' or '.join(_PORTS[link.kind])}",
            )  # fmt: skip
        if port.addresses or port.dhcp or port.accept_ra or port.routes or port.gateway4 or port.gateway6:
            yield _Problem(".members", f"{member} has its own addresses or routes", f"move them to {name}")
        bytes_ = effective_mtu(member, links)
        if link.kind == "bond" and port.mtu is not None and port.mtu != effective_mtu(name, links):
            yield _Problem(
                ".mtu", f"{effective_mtu(name, links)} differs from the {port.mtu} of its member {member}",
                f"members use their bond's MTU: set {port.mtu} here, or remove the member's",
            )  # fmt: skip
        elif link.kind == "bridge" and link.mtu is not None and link.mtu > bytes_:
            yield _Problem(
                ".mtu", f"{link.mtu} is larger than the {bytes_} of its port {member}",
                f"raise the MTU of {member}, or lower this one",
            )  # fmt: skip
    if link.enabled and link.kind == "bond" and link.members:
        ports = [links[m] for m in link.members if m in links]
        if ports and not any(p.enabled for p in ports):
            yield _Problem(".members", "all members are disabled", "enable one, or disable the bond")


def _under_vlan(name: str, link: Link, parent: str, links: Links) -> Iterator[_Problem]:
    carrier = links.get(parent)
    if carrier is None:
        yield _unknown(".parent", parent, links)
        return
    bytes_ = effective_mtu(parent, links)
    if link.mtu is not None and link.mtu > bytes_:
        yield _Problem(
            ".mtu",
            f"{link.mtu} is larger than the {bytes_} of its parent {parent}",
            f"raise the MTU of {parent}, or lower this one",
        )
    if link.enabled and not carrier.enabled:
        yield _Problem(".parent", f"{parent} is disabled", f"enable {parent}, or disable {name}")
    for bond, other in links.items():
        if other.kind == "bond" and parent in other.members:
            yield _Problem(".parent", f"{parent} is a member of bond {bond}", f"set parent: {bond}")
    for twin, other in links.items():
        if twin != name and other.kind == "vlan" and (other.parent, other.vlan) == (parent, link.vlan):
            yield _Problem(".vlan", f"VLAN {link.vlan} on {parent} is also defined by {twin}", "remove one of them")


def _unknown(key: str, name: str, links: Links) -> _Problem:
    return _Problem(key, f"no link '{name}'", f"available: {', '.join(links)}")


def _cycles(links: Links) -> Iterator[_Problem]:
    reported: set[str] = set()
    for start in links:
        path = [start]
        stack = [list(links[start].ports)]
        while stack:
            if not stack[-1]:
                stack.pop()
                path.pop()
                continue
            port = stack[-1].pop()
            if port == start:
                if start not in reported:
                    reported |= set(path)
                    cycle = " on ".join((*path, start))
                    yield _Problem(f"links.{start}", f"is built on itself ({cycle})", "break the cycle")
                stack.clear()
            elif port in links and port not in path:
                path.append(port)
                stack.append(list(links[port].ports))


def _shared_ports(links: Links) -> Iterator[_Problem]:
    owner: dict[str, str] = {}
    for name, link in links.items():
        for member in dict.fromkeys(link.members):
            first = owner.setdefault(member, name)
            if first != name:
                yield _Problem(f"links.{name}.members", f"{member} is also a member of {first}", "remove it from one")


def _given_twice(links: Links) -> Iterator[_Problem]:
    addresses: dict[IPAddress, str] = {}
    macs: dict[str, str] = {}
    for name, link in links.items():
        for address in link.addresses:
            first = addresses.setdefault(address.ip, name)
            twice = sum(a.ip == address.ip for a in link.addresses) > 1
            # a link-local address belongs to its link
            if (first != name and not address.is_link_local) or (
                twice and address is not next(a for a in link.addresses if a.ip == address.ip)
            ):
                yield _Problem(f"links.{name}.addresses", f"{address.ip} is already used by {first}", "use it once")
        if link.mac and link.kind == "physical" and (port := macs.setdefault(link.mac, name)) != name:
            yield _Problem(f"links.{name}.mac", f"{link.mac} is already used by {port}", "use a unique MAC address")


# addresses and routes


def _routing(link: Link) -> Iterator[_Problem]:
    for key, version in (("gateway4", 4), ("gateway6", 6)):
        gateway: IPAddress | None = getattr(link, key)
        if gateway is None:
            continue
        if gateway.version != version:
            yield _Problem(f".{key}", f"{gateway} is an IPv{gateway.version} address", f"use an IPv{version} address")
        else:
            yield from _next_hop(f".{key}", gateway, link)
    for route in link.routes:
        if route.to.version != route.via.version:
            yield _Problem(
                ".routes", f"{route.to} via {route.via}: IP versions differ",
                f"use an IPv{route.to.version} next hop",
            )  # fmt: skip
        else:
            yield from _next_hop(".routes", route.via, link)
        if route.metric is not None and not 0 <= route.metric < 2**32:
            yield _Problem(".routes", f"{route.to}: metric {route.metric} is out of range", "use 0 to 4294967295")
    for resolver in link.nameservers:
        if resolver.is_multicast or resolver.is_unspecified:
            yield _Problem(".nameservers", f"{resolver} is not a host address", "use a unicast address")
    if len(set(link.nameservers)) != len(link.nameservers):
        yield _Problem(".nameservers", "contains duplicates", "list each server once")


def _next_hop(key: str, hop: IPAddress, link: Link) -> Iterator[_Problem]:
    if any(a.ip == hop for a in link.addresses):
        yield _Problem(key, f"{hop} is this host's own address", "use the router's address")
        return
    if hop.is_link_local or (link.dhcp if isinstance(hop, IPv4Address) else link.accept_ra):
        return
    if not any(hop in a.network for a in link.addresses if a.version == hop.version):
        own = ", ".join(str(a.network) for a in link.addresses if a.version == hop.version)
        yield _Problem(
            key,
            f"{hop} is outside of the link's networks ({own or f'no IPv{hop.version} address'})",
            "use a router that the link can reach",
        )


def _default_routes(links: Links) -> Iterator[_Problem]:
    """Several routes to one destination with the same metric: the kernel's choice would be arbitrary."""
    seen: dict[tuple[IPv4Network | IPv6Network, int | None], str] = {}
    for name, link in links.items():
        ways: list[tuple[str, IPv4Network | IPv6Network, int | None]] = []
        ways += [("gateway4", IPv4Network("0.0.0.0/0"), None)] if link.gateway4 else []
        ways += [("gateway6", IPv6Network("::/0"), None)] if link.gateway6 else []
        ways += [("routes", r.to, r.metric) for r in link.routes]
        for key, to, metric in ways:
            if (to, metric) in seen:
                yield _Problem(
                    f"links.{name}.{key}", f"{to} already has a route through {seen[to, metric]}",
                    "remove one, or set different metrics",
                )  # fmt: skip
            seen.setdefault((to, metric), name)


# the environment's networks


def _place(network: str, place: Place, links: Links) -> Iterable[_Problem]:
    link = links.get(place.link)
    if link is None:
        # scs does not manage interfaces that `links` does not list
        return
    automatic = link.dhcp or (link.accept_ra and place.address is not None and place.address.version == 6)
    if place.address and not automatic and all(a.ip != place.address for a in link.addresses):
        yield _Problem(
            f"networks.{network}.address", f"links.{place.link} does not have the address {place.address}",
            "add the address to the link, or name the link that has it",
        )  # fmt: skip
    if effective_mtu(place.link, links) < place.mtu:
        yield _Problem(
            f"links.{place.link}.mtu",
            f"{effective_mtu(place.link, links)} is less than the {place.mtu} of network {network}",
            f"raise it, or lower networks.{network}.mtu in environment.yml",
        )
    if place.address and not link.enabled:
        yield _Problem(
            f"links.{place.link}.enabled", f"the link is disabled, but has the host's address on {network}", "enable it"
        )
