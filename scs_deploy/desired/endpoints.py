# SPDX-License-Identifier: Apache-2.0
"""The endpoints of a region: what HAProxy serves, and the hosts behind it."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.region.region import Region
from scs_deploy.spec.endpoint import Endpoint
from scs_deploy.spec.service import Service


class Backend(Model):
    """A server behind HAProxy."""

    name: str
    address: str
    port: int


class ResolvedEndpoint(Model):
    """An endpoint with its backends."""

    name: str
    service: str
    port: int
    path: str
    protocol: str
    public: bool
    catalogue: bool
    balance: str
    health_path: str | None
    health_port: int | None
    proxied: bool
    copies: bool
    container: str
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
        public=e.public,
        catalogue=e.catalogue,
        balance=e.balance,
        health_path=e.health_path,
        health_port=e.health_port,
        proxied=e.proxied,
        copies=e.copies,
        container=container,
        backends=tuple(Backend(name=h.name, address=h.management, port=e.backend_port or e.port) for h in hosts),
    )
