# SPDX-License-Identifier: Apache-2.0
"""The testbed as data: the networks and nodes that an environment and its inventory define. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host, Inventory


class NodeNetwork(Model):
    """A network of the testbed, with the manager's address on it."""

    name: str
    """name in the environment, e.g. management"""
    full_name: str
    """unique on this machine, e.g. scs-testbed-management"""
    cidr: IPv4Network
    gateway: IPv4Address
    mtu: int


class Attachment(Model):
    """A node's interface."""

    network: str
    """full name"""
    interface: str
    address: IPv4Address


class Node(Model):
    """One host of the testbed."""

    host: str
    attachments: tuple[Attachment, ...]
    """sorted by interface name: eth0 first"""
    address: str
    """management address"""

    @property
    def full_name(self) -> str:
        """Container name, unique on this machine."""
        return f"scs-{self.host}"

    @property
    def docker_volume(self) -> str:
        """The volume for the node's /var/lib/docker, because overlay2 does not work on overlay2."""
        return f"scs-{self.host}-docker"


class Layout(Model):
    """The networks, nodes and names of a testbed."""

    environment: str
    networks: tuple[NodeNetwork, ...]
    nodes: tuple[Node, ...]
    names: tuple[tuple[str, str], ...]
    """(address, name) that the manager resolves"""


def environment_of(layout: str) -> str:
    """The included environment of a layout: `testbed` for `single`, else `testbed-<layout>`.

    :raises RefusedError: no such layout
    """
    name = "testbed" if layout == "single" else f"testbed-{layout}"
    if not (paths.environments() / name / "environment.yml").is_file():
        known = sorted(
            p.parent.name.removeprefix("testbed-") for p in paths.environments().glob("testbed-*/environment.yml")
        )
        raise RefusedError(f"no layout '{layout}'", f"available: {', '.join(['single', *known])}")
    return name


def layout(environment: Environment, inventory: Inventory) -> Layout:
    """Build the networks and nodes of a testbed.

    :raises RefusedError: a network is not IPv4, a host has no address on one, or its interfaces are not eth0, eth1, ...
    """
    settings = environment.settings
    used = sorted({n for host in inventory.hosts.values() for n in host.networks}, key=lambda n: (n != "management", n))
    networks = {name: _network(environment, name) for name in used}
    taken = {a for h in inventory.hosts.values() for n in h.networks.values() if (a := n.address)}
    for network in networks.values():
        if network.gateway in taken:
            raise RefusedError(
                f"{environment.inventory}: {network.gateway} is the manager's address on network {network.name}"
            )
    return Layout(
        environment=environment.name,
        networks=tuple(networks.values()),
        nodes=tuple(_node(environment, host, networks) for host in inventory.hosts.values()),
        names=tuple((str(a.address), a.name) for a in (settings.api.internal, settings.api.external)),
    )


def overlap(cidr: IPv4Network, others: Mapping[str, IPv4Network]) -> str | None:
    """The first of `others` (description: network) that overlaps with `cidr`."""
    return next((name for name, other in others.items() if cidr.overlaps(other)), None)


def _network(environment: Environment, name: str) -> NodeNetwork:
    settings = environment.settings
    network = settings.networks[name]
    if not isinstance(network.cidr, IPv4Network):
        raise RefusedError(
            f"{environment.file}: networks.{name}.cidr: the provider containers supports only IPv4 networks"
        )
    gateway = network.cidr[1]
    if name == "management" and settings.registry.managed:
        try:
            gateway = IPv4Address(settings.registry.address)
        except ValueError:
            gateway = network.cidr[1]
        if gateway not in network.cidr:
            raise RefusedError(
                f"{environment.file}: registry.address: {gateway} is outside {network.cidr}",
                "use the manager's address on network management",
            )
    return NodeNetwork(
        name=name, full_name=f"scs-{environment.name}-{name}", cidr=network.cidr, gateway=gateway, mtu=network.mtu
    )


def _node(environment: Environment, host: Host, networks: Mapping[str, NodeNetwork]) -> Node:
    attachments = []
    for name, place in host.networks.items():
        if not isinstance(place.address, IPv4Address):
            raise RefusedError(
                f"{environment.inventory}: host {host.name}: networks.{name}: a testbed host needs an IPv4 address"
            )
        attachments.append(
            Attachment(network=networks[name].full_name, interface=place.interface, address=place.address)
        )
    # at every start, Docker names interfaces eth0, eth1, ... in alphabetical order of their networks
    attachments.sort(key=lambda a: a.network)
    for number, attachment in enumerate(attachments):
        if attachment.interface != f"eth{number}":
            raise RefusedError(
                f"{environment.inventory}: host {host.name}: {attachment.interface} on {attachment.network} "
                f"would be eth{number}",
                "assign eth0, eth1, ... to the host's networks in alphabetical order",
            )
    return Node(host=host.name, attachments=tuple(attachments), address=host.management)
