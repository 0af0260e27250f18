# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the links of a host, or of hosts together: everything at once, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NamedTuple

from scs_deploy.environment.environment import IPAddress
from scs_deploy.inventory.links import BOND_MODES, DEFAULT_MTU, Link

Links = Mapping[str, Link]


class Place(NamedTuple):
    """Where a network of the environment is on a host."""

    link: str
    """name of the link"""
    address: IPAddress | None
    """absent: attached without an address"""
    mtu: int
    """bytes, of the network"""


class _Problem(NamedTuple):
    key: str
    what: str
    hint: str


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_RESERVED = ("lo", "all", "default", "bonding_masters")
"""The loopback, and names that the kernel uses for other things in /proc/sys/net and /sys/class/net."""
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NEIGHBOUR = re.compile(r"[^\s:]+:\S+")
_KEYS = {"members": ("bond", "bridge"), "mode": ("bond",), "parent": ("vlan",), "vlan": ("vlan",)}
_PORTS = {"bond": ("physical", "dummy"), "bridge": ("physical", "dummy", "bond", "vlan")}
_LEAST_MTU, _LEAST_MTU6, _MOST_MTU = 68, 1280, 65535
"""RFC 791, RFC 8200, and what a 16-bit length can tell."""


def problems(host: str, links: Links, networks: Mapping[str, Place] | None = None) -> list[str]:
    """Everything that is wrong with one host's links, in the order of the links.

    :param host: its name, for the lines
    :param networks: the environment's networks on this host, by name; checked against the links that they name
    :returns: lines `host <host>: links.<link>.<key>: <what>; <what to do>`; empty: all is well
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
    return [f"host {host}: {p.key}: {p.what}; {p.hint}" for p in found]


def shared(hosts: Mapping[str, Links]) -> list[str]:
    """What belongs to one host only, and is given to several: addresses and MAC addresses of physical ports.

    :param hosts: the links of every host, by host name
    :returns: lines as `problems` has them
    """
    seen: dict[str, tuple[str, str]] = {}
    found = []
    for host, links in hosts.items():
        for name, link in links.items():
            own = [(".addresses", str(a.ip)) for a in link.addresses if not a.is_link_local]
            own += [(".mac", link.mac)] if link.mac and link.kind == "physical" else []
            for key, value in own:
                other, where = seen.setdefault(value, (host, name))
                if other != host:
                    found.append(
                        f"host {host}: links.{name}{key}: {value} is host {other}'s too (links.{where}); "
                        "give each host its own"
                    )
    return found


def effective_mtu(name: str, links: Links, _above: tuple[str, ...] = ()) -> int:
    """The MTU in bytes that the kernel gives a link: its own, or what it takes over from its ports.

    A VLAN takes its parent's, a bridge the smallest of its ports', a member the bond's.
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


# one link by itself


def _own(name: str, link: Link) -> Iterator[_Problem]:
    if not _NAME.fullmatch(name) or name.isdigit() or name in _RESERVED:
        yield _Problem(
            "", "no name for a link", "1 to 15 letters, digits, '_', '.', '-', not only digits, not lo, all or default"
        )
    for key, kinds in _KEYS.items():
        if getattr(link, key) and link.kind not in kinds:
            yield _Problem(f".{key}", f"a {link.kind} has none", f"remove it, or say kind: {' or '.join(kinds)}")
    if link.mac is not None:
        if not _MAC.fullmatch(link.mac):
            yield _Problem(".mac", f"'{link.mac}' is no MAC address", "write it as aa:bb:cc:dd:ee:ff")
        elif int(link.mac[:2], 16) & 1 or link.mac == "00:00:00:00:00:00":
            yield _Problem(".mac", f"{link.mac} is no address of a single port", "take the one on the device")
    if link.mtu is not None:
        least = _LEAST_MTU6 if any(a.version == 6 for a in link.addresses) else _LEAST_MTU
        if not least <= link.mtu <= _MOST_MTU:
            why = ", IPv6 needs 1280" if least == _LEAST_MTU6 and link.mtu >= _LEAST_MTU else ""
            yield _Problem(".mtu", f"{link.mtu} is not within {least} to {_MOST_MTU}{why}", "bytes, such as 1500, 9000")
    if link.kind == "bond" and link.mode is not None and link.mode not in BOND_MODES:
        yield _Problem(".mode", f"no bond mode '{link.mode}'", f"one of {', '.join(BOND_MODES)}")
    if link.kind == "vlan":
        if link.vlan is None:
            yield _Problem(".vlan", "a vlan needs its VLAN ID", "give 1 to 4094")
        elif not 1 <= link.vlan <= 4094:
            yield _Problem(".vlan", f"{link.vlan} is out of range", "1 to 4094")
        if not link.parent:
            yield _Problem(".parent", "a vlan needs the link that carries it", "name it")
    if link.kind == "bond" and not link.members:
        yield _Problem(".members", "a bond needs members", "name its ports")
    if link.neighbour is not None and not _NEIGHBOUR.fullmatch(link.neighbour):
        yield _Problem(".neighbour", f"'{link.neighbour}' names no switch and port", "write <switch>:<port>")
    for address in link.addresses:
        network, wide = address.network, address.max_prefixlen - address.network.prefixlen > 1
        if address.ip.is_multicast or address.ip.is_unspecified or address.ip.is_loopback:
            yield _Problem(".addresses", f"{address} is no address of a host", "give a unicast address")
        elif wide and address.ip == network.network_address:
            yield _Problem(".addresses", f"{address} is the network itself", "give a host's address in it")
        elif wide and address.version == 4 and address.ip == network.broadcast_address:
            yield _Problem(".addresses", f"{address} is the network's broadcast address", "give a host's address in it")


# a link and those it stands on


def _relations(name: str, link: Link, links: Links) -> Iterator[_Problem]:
    if link.parent and link.kind == "vlan":
        yield from _under_vlan(name, link, link.parent, links)
    for member in dict.fromkeys(link.members):
        if link.kind not in _PORTS:
            continue
        port = links.get(member)
        if link.members.count(member) > 1:
            yield _Problem(".members", f"{member} is named twice", "name it once")
        if port is None:
            yield _unknown(".members", member, links)
            continue
        if port.kind not in _PORTS[link.kind]:
            yield _Problem(
                ".members", f"{member} is a {port.kind}, a {link.kind} cannot have it as a port",
                f"it takes {', '.join(_PORTS[link.kind])}",
            )  # fmt: skip
        if port.addresses or port.dhcp or port.accept_ra or port.routes or port.gateway4 or port.gateway6:
            yield _Problem(
                ".members", f"{member} has addresses or routes of its own", f"a port carries none: give them to {name}"
            )
        bytes_ = effective_mtu(member, links)
        if link.kind == "bond" and port.mtu is not None and port.mtu != effective_mtu(name, links):
            yield _Problem(
                ".mtu", f"{effective_mtu(name, links)}, and its member {member} has {port.mtu}",
                f"the kernel gives members their bond's: say mtu: {port.mtu} here, or none there",
            )  # fmt: skip
        elif link.kind == "bridge" and link.mtu is not None and link.mtu > bytes_:
            yield _Problem(
                ".mtu", f"{link.mtu} is larger than the {bytes_} of its port {member}",
                f"raise {member}'s, or lower this",
            )  # fmt: skip
    if link.enabled and link.kind == "bond" and link.members:
        ports = [links[m] for m in link.members if m in links]
        if ports and not any(p.enabled for p in ports):
            yield _Problem(".members", "all are kept down (enabled: false)", "enable one, or disable the bond")


def _under_vlan(name: str, link: Link, parent: str, links: Links) -> Iterator[_Problem]:
    carrier = links.get(parent)
    if carrier is None:
        yield _unknown(".parent", parent, links)
        return
    bytes_ = effective_mtu(parent, links)
    if link.mtu is not None and link.mtu > bytes_:
        yield _Problem(
            ".mtu", f"{link.mtu} is larger than the {bytes_} of its parent {parent}", f"raise {parent}'s, or lower this"
        )
    if link.enabled and not carrier.enabled:
        yield _Problem(".parent", f"{parent} is kept down (enabled: false)", f"enable {parent}, or disable {name}")
    for bond, other in links.items():
        if other.kind == "bond" and parent in other.members:
            yield _Problem(".parent", f"{parent} is a member of the bond {bond}", f"say parent: {bond}")
    for twin, other in links.items():
        if twin != name and other.kind == "vlan" and (other.parent, other.vlan) == (parent, link.vlan):
            yield _Problem(".vlan", f"VLAN {link.vlan} of {parent} is {twin} too", "one link per VLAN and parent")


def _unknown(key: str, name: str, links: Links) -> _Problem:
    return _Problem(key, f"no link '{name}'", f"there are: {', '.join(links)}")


def _cycles(links: Links) -> Iterator[_Problem]:
    told: set[str] = set()
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
                if start not in told:
                    told |= set(path)
                    circle = " on ".join((*path, start))
                    yield _Problem(f"links.{start}", f"stands on itself ({circle})", "take one of them out")
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
                yield _Problem(f"links.{name}.members", f"{member} is a member of {first} too", "a port has one master")


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
                yield _Problem(f"links.{name}.addresses", f"{address.ip} is given to {first} already", "give it once")
        if link.mac and link.kind == "physical" and (port := macs.setdefault(link.mac, name)) != name:
            yield _Problem(f"links.{name}.mac", f"{link.mac} is {port}'s already", "each port has its own")


# addresses and routes


def _routing(link: Link) -> Iterator[_Problem]:
    for key, version in (("gateway4", 4), ("gateway6", 6)):
        gateway: IPAddress | None = getattr(link, key)
        if gateway is None:
            continue
        if gateway.version != version:
            yield _Problem(f".{key}", f"{gateway} is IPv{gateway.version}", f"give an IPv{version} address")
        else:
            yield from _next_hop(f".{key}", gateway, link)
    for route in link.routes:
        if route.to.version != route.via.version:
            yield _Problem(".routes", f"{route.to} via {route.via}: two IP versions", "give a next hop of the same")
        else:
            yield from _next_hop(".routes", route.via, link)
        if route.metric is not None and not 0 <= route.metric < 2**32:
            yield _Problem(".routes", f"{route.to}: metric {route.metric} is out of range", "0 to 4294967295")
    for resolver in link.nameservers:
        if resolver.is_multicast or resolver.is_unspecified:
            yield _Problem(".nameservers", f"{resolver} is no address of a host", "give a unicast address")
    if len(set(link.nameservers)) != len(link.nameservers):
        yield _Problem(".nameservers", "one is given twice", "give it once")


def _next_hop(key: str, hop: IPAddress, link: Link) -> Iterator[_Problem]:
    if any(a.ip == hop for a in link.addresses):
        yield _Problem(key, f"{hop} is this host's own address", "give the router's")
        return
    if hop.is_link_local or (link.dhcp if isinstance(hop, IPv4Address) else link.accept_ra):
        return
    if not any(hop in a.network for a in link.addresses if a.version == hop.version):
        own = ", ".join(str(a.network) for a in link.addresses if a.version == hop.version)
        yield _Problem(
            key,
            f"{hop} is outside every network of this link ({own or f'no IPv{hop.version} address'})",
            "give a router that the link reaches",
        )


def _default_routes(links: Links) -> Iterator[_Problem]:
    """Several ways to one destination with the same metric: which of them is used would be chance."""
    seen: dict[tuple[IPv4Network | IPv6Network, int | None], str] = {}
    for name, link in links.items():
        ways: list[tuple[str, IPv4Network | IPv6Network, int | None]] = []
        ways += [("gateway4", IPv4Network("0.0.0.0/0"), None)] if link.gateway4 else []
        ways += [("gateway6", IPv6Network("::/0"), None)] if link.gateway6 else []
        ways += [("routes", r.to, r.metric) for r in link.routes]
        for key, to, metric in ways:
            if (to, metric) in seen:
                yield _Problem(
                    f"links.{name}.{key}", f"{to} has a route through {seen[to, metric]} already",
                    "remove one, or give routes with different metrics",
                )  # fmt: skip
            seen.setdefault((to, metric), name)


# the environment's networks


def _place(network: str, place: Place, links: Links) -> Iterable[_Problem]:
    link = links.get(place.link)
    if link is None:
        # an interface that `links` does not describe is somebody else's
        return
    automatic = link.dhcp or (link.accept_ra and place.address is not None and place.address.version == 6)
    if place.address and not automatic and all(a.ip != place.address for a in link.addresses):
        yield _Problem(
            f"networks.{network}.address", f"{place.address} is not among the addresses of links.{place.link}",
            "give the link this address, or name the link that has it",
        )  # fmt: skip
    if effective_mtu(place.link, links) < place.mtu:
        yield _Problem(
            f"links.{place.link}.mtu",
            f"{effective_mtu(place.link, links)} is less than the {place.mtu} of network {network}",
            "raise it, or lower networks." + network + ".mtu in environment.yml",
        )
    if place.address and not link.enabled:
        yield _Problem(
            f"links.{place.link}.enabled", f"kept down, and it has the host's address on {network}", "enable it"
        )
