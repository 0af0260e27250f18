# SPDX-License-Identifier: Apache-2.0
"""What the operator's own services leave behind when they are removed from the environment.

`scs apply` removes containers and files. Data and what hosts share stay, because deleting them is the operator's
decision. What that is follows from the service's description in the latest snapshot that has it; no server is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.own import load_catalog
from scs_deploy.plan.change import Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.secrets import store
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.complete import complete
from scs_deploy.spec.service import Service
from scs_deploy.state import snapshot


class Remains(Model):
    """What a removed service leaves behind."""

    service: str
    databases: tuple[str, ...] = Field(default=(), description="schemas in MariaDB, and a user named as the service")
    broker: bool = Field(default=False, description="a user and a vhost of RabbitMQ, named as the service")
    account: bool = Field(default=False, description="a Keystone user, named as the service")
    endpoints: tuple[str, ...] = Field(default=(), description="types of services in Keystone's catalogue")
    secrets: tuple[str, ...] = Field(default=(), description="in secrets.yml")
    images: tuple[str, ...] = Field(default=(), description="in the release lock; the next build removes them")
    volumes: tuple[str, ...] = Field(default=(), description="of Docker, on the hosts that ran it")

    def __str__(self) -> str:
        named = {
            "schemas": self.databases,
            "database user": (self.service,) if self.databases else (),
            "broker user and vhost": (self.service,) if self.broker else (),
            "Keystone user": (self.service,) if self.account else (),
            "endpoints": self.endpoints,
            "secrets": self.secrets,
            "images in the release lock": self.images,
            "volumes": self.volumes,
        }
        return "; ".join(f"{what} {', '.join(names)}" for what, names in named.items() if names) or "nothing"


def remains(environment: Environment) -> tuple[Remains, ...]:
    """Of each own service that an earlier run had and that the environment has no more, sorted by name.

    :raises RefusedError: secrets or lock cannot be read
    """
    catalog = load_catalog(environment)
    gone = _gone(environment, {*catalog.services, *(e.name for e in catalog.left_out)})
    if not gone:
        return ()
    secrets = store.load(environment)
    lock = release_lock.written(environment).images
    return tuple(_remains(service, catalog, secrets, lock) for _, service in sorted(gone.items()))


def stays_of(region: Region, plan: Plan) -> list[Remains]:
    """What stays of the services that a plan removes.

    :raises RefusedError: secrets or lock cannot be read
    """
    gone = {c.service for c in plan.changes if c.kind is Kind.REMOVE} - region.catalog.services.keys()
    return [each for each in remains(region.environment) if each.service in gone] if gone else []


def _gone(environment: Environment, present: Collection[str]) -> dict[str, Service]:
    """The latest description of each service that is not present."""
    found: dict[str, Service] = {}
    for kept in snapshot.newest(environment):
        for spec in sorted(kept.services.glob("*/service.yml")):
            name = spec.parent.name
            if name not in present and name not in found and (service := _read(spec)):
                found[name] = service
    return found


def _read(spec: Path) -> Service | None:
    try:
        return complete(load_model(Service, spec, {"name": spec.parent.name, "directory": spec.parent, "own": True}))
    except RefusedError:
        # an earlier version of scs understood it
        return None


def _remains(service: Service, catalog: Catalog, secrets: Mapping[str, str], lock: Mapping[str, object]) -> Remains:
    needed = {c.image or s.name for s in catalog.services.values() for c in s.containers.values()}
    images = dict.fromkeys(c.image or service.name for c in service.containers.values())
    sources = (v.partition(":")[0] for c in service.containers.values() for v in c.volumes)
    used = set(catalog.secrets())
    return Remains(
        service=service.name,
        databases=service.databases,
        broker=service.messaging,
        account=service.account,
        endpoints=tuple(
            kind
            for n, e in service.endpoints.items()
            for kind in (n, *e.aliases)
            if e.catalogue and e.protocol == "http"
        ),
        secrets=tuple(n for n in service.all_secrets if n in secrets and n not in used),
        images=tuple(i for i in images if i in lock and i not in needed),
        volumes=tuple(dict.fromkeys(s for s in sources if not s.startswith("/"))),
    )
