# SPDX-License-Identifier: Apache-2.0
"""From where to connect to which ports of hosts, and which of these connections the specs declare. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from scs_deploy.base.model import Model, at
from scs_deploy.desired import firewall
from scs_deploy.desired.listeners import MANAGEMENT, Listening, address_of, addresses, listening, network_of
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.listener import ANYONE, LOOPBACK, MANAGER

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
Sockets = Mapping[str, Sequence[tuple[str, int]]]
"""host: address and port of its listening sockets"""


class Vantage(Model):
    """A host's place on a network."""

    host: str
    network: str
    interface: str
    address: str


class Probe(Model):
    """A connection to try."""

    vantage: Vantage
    router: str
    """address of the host that is taken for a router; empty: none"""
    host: str
    """whose port it is"""
    address: str
    port: int

    def __str__(self) -> str:
        way = f" by way of {self.router}" if self.router else ""
        return f"{self.host} {at(self.address, self.port)} from {self.vantage.host} on {self.vantage.network}{way}"


def vantages(region: Region, bridges: Mapping[str, Mapping[str, str]]) -> tuple[Vantage, ...]:
    """One host for each network, and on the management network one for each set of groups: who may what goes by these.

    :param bridges: host: own address: the interface that has it, which may be a bridge by now
    """
    found: dict[tuple[str, tuple[str, ...]], Vantage] = {}
    for host in region.inventory.hosts.values():
        for network, place in host.networks.items():
            if place.address is None:
                continue
            key = (network, host.groups if network == MANAGEMENT else ())
            device = bridges.get(host.name, {}).get(str(place.address), place.interface)
            found.setdefault(
                key, Vantage(host=host.name, network=network, interface=device, address=str(place.address))
            )
    return tuple(found.values())


def probes(region: Region, vantage: Vantage, sockets: Sockets) -> Iterator[Probe]:
    """What to try from one place: every listening port of every other host, on each of its addresses.

    From other networks than that of the address, the other host, and a third one, are asked to route.
    """
    hosts = [h for h in region.inventory.hosts.values() if h.name != vantage.host and h.name in sockets]
    family = ip_address(vantage.address).version
    for host in hosts:
        here = address_of(region, host, vantage.network)
        for network, place in host.networks.items():
            if place.address is None or place.address.version != family:
                continue
            address = str(place.address)
            ports = sorted({p for a, p in sockets[host.name] if a in (address, *WILDCARDS)})
            routers = [""] if network == vantage.network else _routers(region, hosts, host, vantage, here)
            for router in routers:
                for port in ports:
                    yield Probe(vantage=vantage, router=router, host=host.name, address=address, port=port)


def _routers(region: Region, hosts: Sequence[Host], host: Host, vantage: Vantage, here: str) -> list[str]:
    """The host itself, and one that would have to forward."""
    others = [a for h in hosts if h.name != host.name and (a := address_of(region, h, vantage.network))]
    return [*([here] if here else []), *others[:1]]


def declared(region: Region, probe: Probe) -> bool:
    """Whether the connection is one that specs, or the operator, declare."""
    host = region.inventory.hosts[probe.host]
    source = ip_address(probe.vantage.address)
    settings = region.environment.settings
    managers = _within(source, firewall.manager_networks(region))
    if probe.port == firewall.ssh_port(host) and _within(source, firewall.trusted(region)):
        return True
    openings = [o for o in settings.firewall.allow if o.protocol == "tcp" and host.runs(o.hosts)]
    if any(low <= probe.port <= high for o in openings if _within(source, o.sources) for low, high in o.ranges):
        return True
    return any(
        ANYONE in one.clients or (managers and MANAGER in one.clients) or probe.vantage.address in _sources(region, one)
        for one in listening(region, host)
        if one.protocol == "tcp" and one.network != LOOPBACK and one.first <= probe.port <= one.last
        and address_of(region, host, one.network) == probe.address
    )  # fmt: skip


def _within(source: IPv4Address | IPv6Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(source in network for network in networks)


def _sources(region: Region, one: Listening) -> tuple[str, ...]:
    groups = tuple(c for c in one.clients if c not in (MANAGER, ANYONE))
    return addresses(region, groups, network_of(region, one.network)) if groups else ()
