# SPDX-License-Identifier: Apache-2.0
"""Where ingresses run: on the hosts of processes behind HTTP endpoints, if a load balancer is on another host. Pure."""

from __future__ import annotations

from typing import Any

from scs_deploy.inventory.model import Inventory
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.service import Service


def placed(catalog: Catalog, inventory: Inventory) -> Catalog:
    """The catalog with ingresses where this inventory needs them, else without what is there for them only."""
    groups = _groups(catalog)
    processes = {h.name for h in inventory.group(*groups)} if groups else set()
    balancers = {h.name for n in catalog.load_balancers for h in inventory.group(*catalog.services[n].hosts)}
    needed = any(process != balancer for process in processes for balancer in balancers)
    services = {n: _with(s, groups) if needed else _without(s) for n, s in catalog.services.items()}
    if services == catalog.services:
        return catalog
    fields = {name: getattr(catalog, name) for name in Catalog.model_fields}
    return Catalog(**fields | {"services": services})


def _groups(catalog: Catalog) -> tuple[str, ...]:
    """The inventory groups with a process behind an HTTP endpoint."""
    return tuple(
        dict.fromkeys(
            g
            for s in catalog.services.values() for e in s.endpoints.values() if e.protocol == "http"
            for g in s.groups(s.listens(e))
        )
    )  # fmt: skip


def _with(service: Service, groups: tuple[str, ...]) -> Service:
    if not any(c.ingress for c in service.containers.values()):
        return service
    return _changed(
        service, {n: c.model_copy(update={"hosts": groups}) if c.ingress else c for n, c in service.containers.items()}
    )


def _without(service: Service) -> Service:
    gone = {n: c for n, c in service.containers.items() if c.ingress}
    if not gone:
        return service
    theirs = {u.certificate for c in gone.values() for u in c.tls}
    return _changed(
        service,
        {
            n: c.model_copy(
                update={
                    "after": tuple(a for a in c.after if a not in gone),
                    "tls": tuple(u for u in c.tls if not theirs.intersection(u.accepts)),
                }
            )
            for n, c in service.containers.items() if n not in gone
        },
    )  # fmt: skip


def _changed(service: Service, containers: dict[str, Any]) -> Service:
    return service.model_copy(update={"containers": containers})
