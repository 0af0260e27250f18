# SPDX-License-Identifier: Apache-2.0
"""Cluster drivers: one module or package each, selected by `cluster:` in service.yml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import ClusterDriver, Seen
from scs_deploy.engine import remote
from scs_deploy.engine.remote import Answer, Command
from scs_deploy.region.region import Region
from scs_deploy.spec import drivers
from scs_deploy.spec.service import Service


def driver_class(name: str) -> type[ClusterDriver]:
    """The driver class with this name.

    :raises RefusedError: no such driver, or the class is not a driver
    """
    where = drivers.find(name)
    if where is None:
        raise RefusedError(f"no cluster driver '{name}'", f"there are: {', '.join(drivers.known())}")
    found = where.load()
    if not (isinstance(found, type) and issubclass(found, ClusterDriver)):
        raise RefusedError(f"cluster driver '{name}': {where.value} is not a ClusterDriver")
    return found


def of_service(region: Region, service: Service) -> ClusterDriver | None:
    """A service's driver; None if the service is not a cluster.

    :raises RefusedError: the driver's settings are wrong
    """
    return driver_class(service.cluster.driver)(region, service) if service.cluster else None


def of(region: Region) -> dict[str, ClusterDriver]:
    """All drivers of a region by service, in catalog order.

    :raises RefusedError: a driver's settings are wrong
    """
    found = {name: of_service(region, service) for name, service in region.catalog.services.items()}
    return {name: driver for name, driver in found.items() if driver}


def observe(region: Region, drivers: Mapping[str, ClusterDriver], hosts: Sequence[str]) -> tuple[Seen, dict[str, str]]:
    """Run the drivers' queries on all hosts at once. Changes nothing.

    :param drivers: by service
    :returns: the merged results; unreachable host: ssh's message
    :raises ScsError: a host's container engine does not respond, or Ansible itself failed
    """
    asked = {
        h: {(name, q): command for name, d in drivers.items() for q, command in d.questions(h).items()} for h in hosts
    }
    # hosts without queries must be reachable too; whether this container exists there does not matter
    anything = Command(container=next(iter(region.catalog.owner)), argv=("true",))
    said = remote.execute(region, {h: tuple(q.values()) or (anything,) for h, q in asked.items()}, together=True)
    seen = Seen()
    for name, driver in drivers.items():
        own: dict[str, dict[str, Answer]] = {}
        for host in hosts:
            for (service, question), answer in zip(asked[host], said.by_host.get(host, ()), strict=False):
                if service == name:
                    own.setdefault(host, {})[question] = answer
        seen += driver.parse(own)
    return seen, said.unreachable
