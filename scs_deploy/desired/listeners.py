# SPDX-License-Identifier: Apache-2.0
"""Who may reach what: the ports on which each host listens, by network and clients. Pure; needs no secret."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, where
from scs_deploy.desired import metrics, render
from scs_deploy.desired.endpoints import passages
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.placing import item_of
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Container
from scs_deploy.spec.listener import ANYONE, API_NETWORKS, LOOPBACK, MANAGER, ports
from scs_deploy.spec.service import Service

MANAGEMENT = "management"


class Listening(Model):
    """What a host listens on, with all that specs leave to derive."""

    service: str = Field(description="service; empty: the host itself")
    container: str
    protocol: str = Field(description="tcp, udp or vrrp")
    first: int = Field(description="first port; 0: the protocol has none")
    last: int
    network: str = Field(description="a network of the region, `internal`, `external` or `loopback`")
    clients: tuple[str, ...] = Field(description="sorted; empty on loopback")

    @property
    def key(self) -> tuple[str, str, int, int]:
        """The same for two declarations of one listener."""
        return self.network, self.protocol, self.first, self.last

    @property
    def port(self) -> str:
        """`80`, `5900-6499`, or empty."""
        if not self.first:
            return ""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def settings_of(region: Region, host: Host) -> dict[str, Any]:
    """The operator variables of a host, with defaults."""
    return {**region.defaults, **host.settings}


def scope(region: Region, host: Host) -> dict[str, Any]:
    """The names that `listeners` of every spec may use."""
    return {
        "settings": settings_of(region, host), "hosts": region.inventory.group, "host": host,
        "address": host.management, "passages": passages(region, host),
    }  # fmt: skip


def _each(names: dict[str, Any], container: Container, host: Host) -> dict[str, Any]:
    """The same, with the disk of a container that is for one."""
    item = item_of(container, host)
    return names if item is None else names | {"item": item}


def listening(region: Region, host: Host) -> tuple[Listening, ...]:
    """Everything that listens on a host, by network and port; one entry for each port.

    :raises RefusedError: a port or network of a spec is none
    """
    found: dict[tuple[str, str, int, int], Listening] = {}
    for one in _all(region, host):
        known = found.get(one.key)
        clients = {*one.clients, *(known.clients if known else ())}
        if ANYONE in clients:
            clients = {ANYONE}
        found[one.key] = (known or one).model_copy(update={"clients": tuple(sorted(clients))})
    return tuple(found[key] for key in sorted(found))


def declared(region: Region, host: Host) -> Iterator[Listening]:
    """The `listeners` of the containers on a host, as their specs have them.

    :raises RefusedError: a port or network of a spec is none
    """
    shared = scope(region, host)
    for service in region.catalog.services.values():
        for name, container in service.containers.items():
            if not host.runs(container.hosts or service.hosts):
                continue
            names = _each(shared, container, host)
            for i, spec in enumerate(container.listeners):
                place = ("containers", name, "listeners", i)
                port = _rendered(service, (*place, "port"), spec.port, names)
                network = _rendered(service, (*place, "network"), spec.network, names)
                if not port and spec.protocol != "vrrp":
                    continue
                _check_network(region, service, (*place, "network"), network)
                first, last = _range(service, (*place, "port"), port) if port else (0, 0)
                yield Listening(
                    service=service.name, container=name, protocol=spec.protocol, first=first, last=last,
                    network=network, clients=tuple(sorted(spec.clients or ())),
                )  # fmt: skip


def _all(region: Region, host: Host) -> Iterator[Listening]:
    yield from declared(region, host)
    yield from _backends(region, host)
    yield from _ingresses(region, host)
    yield from _frontends(region, host)
    yield from _certificates(region, host)
    yield from _metrics(region, host)
    yield from _registry(region, host)


def _tcp(service: str, container: str, port: int, network: str, *clients: str) -> Listening:
    return Listening(
        service=service, container=container, protocol="tcp", first=port, last=port, network=network,
        clients=tuple(sorted(clients)),
    )  # fmt: skip


def balancer_groups(region: Region) -> tuple[str, ...]:
    """The groups of the hosts that pass requests on."""
    return tuple(
        dict.fromkeys(g for name in region.catalog.load_balancers for g in region.catalog.services[name].hosts)
    )


def _backends(region: Region, host: Host) -> Iterator[Listening]:
    """Processes behind endpoints, which the load balancers use, and what says whether they are well."""
    balancers = balancer_groups(region)
    for service in region.catalog.services.values():
        for endpoint in service.endpoints.values():
            container = service.listens(endpoint)
            if host.runs(service.groups(container)):
                # where the process is on loopback, load balancers use this until its host is rolled the first time
                yield _tcp(service.name, container, endpoint.process_port, MANAGEMENT, *balancers)
                if endpoint.loopback:
                    yield _tcp(service.name, container, endpoint.process_port, LOOPBACK)
                if endpoint.health_port:
                    yield _tcp(service.name, container, endpoint.health_port, MANAGEMENT, *balancers)


def _ingresses(region: Region, host: Host) -> Iterator[Listening]:
    """The ingress of a host, which the load balancers of the others use."""
    balancers = balancer_groups(region)
    for service in region.catalog.services.values():
        for name, container in service.containers.items():
            if container.ingress and host.runs(service.groups(name)):
                for passage in passages(region, host):
                    yield _tcp(service.name, name, passage.port, MANAGEMENT, *balancers)


def _frontends(region: Region, host: Host) -> Iterator[Listening]:
    """The endpoints on the API addresses."""
    for name in region.catalog.load_balancers:
        balancer = region.catalog.services[name]
        if not host.runs(balancer.hosts):
            continue
        container = next(iter(balancer.containers))
        for service in region.catalog.services.values():
            for endpoint in service.endpoints.values():
                yield _tcp(name, container, endpoint.port, "internal", *endpoint.clients, MANAGER)
                if endpoint.public:
                    yield _tcp(name, container, endpoint.port, "external", ANYONE)


def _certificates(region: Region, host: Host) -> Iterator[Listening]:
    """Ports whose certificates `scs certs` reads."""
    shared = scope(region, host)
    for service in region.catalog.services.values():
        for name, container in service.containers.items():
            if host.runs(container.hosts or service.hosts):
                names = _each(shared, container, host)
                for key, text in _tls_ports(container):
                    place = ("containers", name, *key)
                    port = _rendered(service, place, text, names).rpartition(":")[2]
                    if port:
                        yield _tcp(service.name, name, _range(service, place, port)[0], MANAGEMENT, MANAGER)


def _metrics(region: Region, host: Host) -> Iterator[Listening]:
    """Metrics, which the host's own ingress passes on."""
    for target in metrics.of_host(region, host):
        yield _tcp(target.service, target.container, target.port, LOOPBACK)


def _tls_ports(container: Container) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every port at which a container serves TLS, with its key in the container's spec."""
    for i, text in enumerate(container.tls_ports):
        yield ("tls_ports", i), text
    for n, use in enumerate(container.tls):
        for i, text in enumerate(use.ports):
            yield ("tls", n, "ports", i), text


def _registry(region: Region, host: Host) -> Iterator[Listening]:
    """The managed registry, if the manager is one of the hosts."""
    registry = region.environment.settings.registry
    for network, place in host.networks.items():
        if registry.managed and str(place.address) == registry.address:
            yield _tcp("", "registry", registry.port, network, "all", MANAGER)


def _rendered(service: Service, place: tuple[str | int, ...], text: str, names: dict[str, Any]) -> str:
    at = ".".join(map(str, place))
    return render.leaf(text, names, f"{service.directory / 'service.yml'}: {at}").strip()


def _range(service: Service, place: tuple[str | int, ...], text: str) -> tuple[int, int]:
    try:
        return ports(text)
    except ValueError as error:
        raise RefusedError(f"{where(service.directory / 'service.yml', place)}: {error}") from None


def _check_network(region: Region, service: Service, place: tuple[str | int, ...], network: str) -> None:
    known = (*region.environment.settings.networks, *API_NETWORKS, LOOPBACK)
    if network not in known:
        at = where(service.directory / "service.yml", place)
        raise RefusedError(f"{at}: no network '{network}'", f"there are: {', '.join(known)}")


# addresses


def network_of(region: Region, name: str) -> str:
    """The network of the region behind the name of a listener's network."""
    api = region.environment.settings.api
    return {"internal": api.internal.network, "external": api.external.network}.get(name, name)


def address_of(region: Region, host: Host, name: str) -> str:
    """The address on which a host listens on a listener's network; empty: it has none there."""
    api = region.environment.settings.api
    if name in API_NETWORKS:
        return str((api.internal if name == "internal" else api.external).address)
    place = host.networks.get(name)
    return str(place.address) if place and place.address else ""


def addresses(region: Region, groups: tuple[str, ...], network: str) -> tuple[str, ...]:
    """The addresses from which hosts of these groups come on a network, sorted: a host that is not on it is routed."""
    found = set()
    for host in region.inventory.group(*groups):
        place = host.networks.get(network)
        if place and place.address:
            found.add(str(place.address))
        else:
            found |= {str(n.address) for n in host.networks.values() if n.address}
    return tuple(sorted(found, key=lambda a: (":" in a, ip_address(a).packed)))
