# SPDX-License-Identifier: Apache-2.0
"""Cluster drivers: one module each, found by the name that a service's `cluster:` gives."""

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
    """The driver of a name.

    :raises RefusedError: there is none, or it is not a driver
    """
    where = drivers.find(name)
    if where is None:
        raise RefusedError(f"no cluster driver '{name}'", f"there are: {', '.join(drivers.known())}")
    found = where.load()
    if not (isinstance(found, type) and issubclass(found, ClusterDriver)):
        raise RefusedError(f"cluster driver '{name}': {where.value} is not a ClusterDriver")
    return found


def of_service(region: Region, service: Service) -> ClusterDriver | None:
    """A service's driver; None: it is no cluster.

    :raises RefusedError: the driver's settings are wrong
    """
    return driver_class(service.cluster.driver)(region, service) if service.cluster else None


def of(region: Region) -> dict[str, ClusterDriver]:
    """The drivers of a region by service, in the catalog's order.

    :raises RefusedError: a driver's settings are wrong
    """
    found = {name: of_service(region, service) for name, service in region.catalog.services.items()}
    return {name: driver for name, driver in found.items() if driver}


def observe(region: Region, drivers: Mapping[str, ClusterDriver], hosts: Sequence[str]) -> tuple[Seen, dict[str, str]]:
    """Ask what drivers ask, everywhere at once. Changes nothing.

    :param drivers: by service
    :returns: what all of them saw; unreachable host: what ssh said
    :raises ScsError: a host's engine does not answer, or Ansible itself failed
    """
    asked = {
        h: {(name, q): command for name, d in drivers.items() for q, command in d.questions(h).items()} for h in hosts
    }
    # a host with no question must be reached, too; whether it has the container is all the same
    anything = Command(container=next(iter(region.catalog.owner)), argv=("true",))
    said = remote.execute(region, {h: tuple(q.values()) or (anything,) for h, q in asked.items()})
    seen = Seen()
    for name, driver in drivers.items():
        own: dict[str, dict[str, Answer]] = {}
        for host in hosts:
            for (service, question), answer in zip(asked[host], said.by_host.get(host, ()), strict=False):
                if service == name:
                    own.setdefault(host, {})[question] = answer
        seen += driver.parse(own)
    return seen, said.unreachable
