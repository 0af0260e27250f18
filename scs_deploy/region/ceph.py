# SPDX-License-Identifier: Apache-2.0
"""Whether a region has Ceph, and what its services need of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from scs_deploy.inventory.model import Inventory
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.storage import CEPH, CephClient, Pool

GROUP = "storage"
"""The inventory group of hosts with disks for Ceph. A region has Ceph if the group has hosts."""

MONITOR = "ceph_mon"
"""The container of a monitor, with the operator's keyring and tools."""

OSD = "ceph_osd"
"""The container of an OSD; one for each disk, `ceph_osd_<name of the disk>`."""

MONITOR_PORT = 3300
"""Where monitors speak the encrypted protocol, msgr2."""


class Parts(Protocol):
    """The parts of a region that this needs."""

    @property
    def catalog(self) -> Catalog:
        """The services."""
        ...

    @property
    def inventory(self) -> Inventory:
        """The hosts."""
        ...


def enabled(region: Parts) -> bool:
    """Whether the region has Ceph."""
    return CEPH in region.catalog.services and bool(region.inventory.group(GROUP))


def monitors(region: Parts) -> tuple[str, ...]:
    """The hosts that run a monitor; empty without Ceph."""
    if not enabled(region):
        return ()
    service = region.catalog.services[CEPH]
    groups = service.groups(MONITOR) if MONITOR in service.containers else service.hosts
    return tuple(h.name for h in region.inventory.group(*groups))


def pools(region: Parts) -> dict[str, Pool]:
    """The pools that the region's services declare; empty without Ceph."""
    return {n: p for s in region.catalog.services.values() for n, p in s.pools.items()} if enabled(region) else {}


def owners(region: Parts) -> dict[str, str]:
    """Pool: the service that declares it."""
    return {n: s.name for s in region.catalog.services.values() for n in s.pools}


def clients(region: Parts) -> dict[str, tuple[str, CephClient]]:
    """The clients that the region's services declare, each with its service; empty without Ceph."""
    if not enabled(region):
        return {}
    return {n: (s.name, c) for s in region.catalog.services.values() for n, c in s.ceph_clients.items()}


def unneeded(region: Parts) -> frozenset[str]:
    """Secrets that only a region with Ceph needs, if this one has none."""
    if enabled(region):
        return frozenset()
    services: Iterable[str] = region.catalog.services
    keys = {k for s in services for k in region.catalog.services[s].ceph_keys}
    own = region.catalog.services[CEPH].all_secrets if CEPH in region.catalog.services else ()
    return frozenset({*keys, *own})
