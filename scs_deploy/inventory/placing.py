# SPDX-License-Identifier: Apache-2.0
"""The catalog as an inventory has it: without services that have no hosts, and with one container for each disk. Pure.

Everything that works with a region sees this catalog, so that it knows containers only, each on some hosts.
"""

from __future__ import annotations

from collections.abc import Iterator

from scs_deploy.inventory.model import Disk, Host, Inventory, narrowed
from scs_deploy.spec.catalog import Catalog, Series
from scs_deploy.spec.container import Container, Repeated
from scs_deploy.spec.service import Service


def placed(catalog: Catalog, inventory: Inventory) -> Catalog:
    """The catalog of a region. One that is placed already stays as it is."""
    gone = {
        s.name: s.only_with
        for s in catalog.services.values()
        if s.only_with and not any(inventory.group(g) for g in s.only_with)
    }
    series = {
        name: Series(service=s.name, hosts=c.hosts or s.hosts, each=c.for_each)
        for s in catalog.services.values()
        if s.name not in gone
        for name, c in s.containers.items()
        if c.for_each
    }
    if not gone and not series:
        return catalog
    services = {n: _fitted(s, frozenset(gone), inventory) for n, s in catalog.services.items() if n not in gone}
    return catalog.model_copy(
        update={
            "services": services,
            "waves": {n: w for n, w in catalog.waves.items() if n in services},
            "series": {**catalog.series, **series},
            "absent": {**catalog.absent, **gone},
        }
    )


def item_of(container: Container, host: Host) -> Disk | None:
    """The disk that a container is for on a host; None: it is for none."""
    if not isinstance(container, Repeated):
        return None
    return next((d for d in host.disks if d.name == container.item), None)


def _fitted(service: Service, gone: frozenset[str], inventory: Inventory) -> Service:
    requires = tuple(r for r in service.requires if r not in gone)
    update: dict[str, object] = {} if requires == service.requires else {"requires": requires}
    if any(c.for_each for c in service.containers.values()):
        each = {n: dict(_repeated(service, n, c, inventory)) for n, c in service.containers.items()}
        update["containers"] = {
            name: _after(container, each) for members in each.values() for name, container in members.items()
        }
    return service.model_copy(update=update) if update else service


def _after(container: Container, each: dict[str, dict[str, Container]]) -> Container:
    after = tuple(name for other in container.after for name in each[other])
    return container if after == container.after else container.model_copy(update={"after": after})


def _repeated(
    service: Service, name: str, container: Container, inventory: Inventory
) -> Iterator[tuple[str, Container]]:
    """Name and spec of each container that one in a spec means: itself, without `for_each`."""
    if container.for_each is None:
        yield name, container
        return
    roles, groups = container.for_each.roles, container.hosts or service.hosts
    found = {(d.name, d.role) for h in inventory.group(*groups) for d in h.disks_of(roles)}
    values = {field: getattr(container, field) for field in Container.model_fields if field != "for_each"}
    for disk in sorted({disk for disk, _ in found}):
        there = sorted(role for other, role in found if other == disk)
        hosts = tuple(narrowed(g, role if roles else "", disk) for g in groups for role in (there if roles else [""]))
        yield f"{name}_{disk}", Repeated.model_construct(**{**values, "hosts": hosts, "origin": name, "item": disk})
