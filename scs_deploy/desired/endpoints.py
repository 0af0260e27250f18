# SPDX-License-Identifier: Apache-2.0
"""The endpoints of a region: what HAProxy serves, and the hosts behind it."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.endpoint import Endpoint, ingress_of
from scs_deploy.spec.service import Service


class Backend(Model):
    """A server behind HAProxy."""

    name: str
    address: str
    port: int


class Passage(Model):
    """What the ingress of a host lets the load balancers of other hosts reach."""

    name: str
    port: int = Field(description="of the ingress")
    process: int = Field(description="port of the process")
    loopback: bool = Field(description="the process listens on 127.0.0.1")


class ResolvedEndpoint(Model):
    """An endpoint with its backends."""

    name: str
    service: str
    port: int
    path: str
    protocol: str
    aliases: tuple[str, ...]
    public: bool
    catalogue: bool
    balance: str
    health_path: str | None
    health_port: int | None
    proxied: bool
    login_paths: tuple[str, ...]
    secret_query: bool
    drain: int = Field(description="seconds")
    copies: bool
    loopback: bool
    ingress: int = Field(description="port for load balancers of other hosts, over TLS; 0: they need none")
    health_ingress: int = Field(description="the same of `health_port`")
    container: str
    slo: float | None = Field(description="percent of requests; None: it has no service level")
    backends: tuple[Backend, ...] = Field(description="sorted by host name")


@lru_cache(maxsize=8)
def endpoints(region: Region) -> tuple[ResolvedEndpoint, ...]:
    """Every endpoint of the catalog with the hosts that serve it, by service order and name."""
    return tuple(
        _endpoint(region, service, name, e)
        for service in region.catalog.services.values()
        for name, e in service.endpoints.items()
    )


def _endpoint(region: Region, service: Service, name: str, e: Endpoint) -> ResolvedEndpoint:
    container = service.listens(e)
    hosts = region.hosts_of(service.name, container)
    return ResolvedEndpoint(
        name=name,
        service=service.name,
        port=e.port,
        path=e.path,
        protocol=e.protocol,
        aliases=e.aliases,
        public=e.public,
        catalogue=e.catalogue,
        balance=e.balance,
        health_path=e.health_path,
        health_port=e.health_port,
        proxied=e.proxied,
        login_paths=e.login_paths,
        secret_query=e.secret_query,
        drain=e.drain,
        copies=e.copies,
        loopback=e.loopback,
        ingress=ingress_of(e.process_port) if e.protocol == "http" else 0,
        health_ingress=ingress_of(e.health_port) if e.protocol == "http" and e.health_port else 0,
        container=container,
        slo=e.slo if e.slo and e.protocol == "http" else None,
        backends=tuple(Backend(name=h.name, address=h.management, port=e.process_port) for h in hosts),
    )


def passages(region: Region, host: Host) -> tuple[Passage, ...]:
    """What the ingress of a host passes on, in the order of the endpoints."""
    found: list[Passage] = []
    for service in region.catalog.services.values():
        for name, e in service.endpoints.items():
            if host.runs(service.groups(service.listens(e))):
                for port, process in e.ingresses.items():
                    own = process == e.process_port
                    found.append(
                        Passage(
                            name=name if own else f"{name}_health", port=port, process=process,
                            loopback=e.loopback and own,
                        )
                    )  # fmt: skip
    return tuple(found)
