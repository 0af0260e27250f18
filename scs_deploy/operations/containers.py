# SPDX-License-Identifier: Apache-2.0
"""The containers of a region as they are: what `scs status` and the page show. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine.observe import observe_hosts
from scs_deploy.operations.storage import look
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.spec.storage import CEPH

UNREACHABLE = "unreachable"
"""State of all containers of a host that does not respond."""

State = dict[str, Any]
"""A container, as `scs status --json` has it."""


def observe(region: Region, names: tuple[str, ...], hosts: tuple[str, ...]) -> tuple[list[State], list[str]]:
    """(states of the selected containers, hosts that an operator drained).

    :raises RefusedError: nothing of the selection runs on these hosts
    """
    chosen = region.catalog.select(names)
    _check_placed(region, names, chosen, region.select_hosts(hosts))
    containers = {n for n in names if n in region.catalog.owner and n not in region.catalog.services}
    selected = region.select_hosts(hosts)
    seen = observe_hosts(region, chosen, states=True, hosts=selected, spared=selected)
    states = [s for s in seen.states if s["service"] in chosen]
    states += _out_of_reach(region, chosen, seen.unreachable)
    if containers and all(n in containers for n in names):
        states = [s for s in states if s["container"] in containers]
    return states, [h.host for h in seen.hosts if h.drained]


def storage(region: Region, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """(what is wrong with the region's Ceph in one line, hosts that it shuts out since they were evacuated).

    Both are empty if neither Ceph nor a client of it was selected.
    """
    chosen = region.catalog.select(names)
    if not ceph.enabled(region) or not chosen & {CEPH, *(service for service, _ in ceph.clients(region).values())}:
        return "", ()
    try:
        found = look.health(region)
    except ScsError as error:
        return (str(error) if CEPH in chosen else ""), ()
    return (found.trouble if CEPH in chosen else ""), found.fenced


def works(state: State) -> bool:
    """Whether a container runs, and passes its health check if it has one."""
    return bool(state["state"] == "running" and state["health"] != "unhealthy")


def _out_of_reach(region: Region, services: frozenset[str], unreachable: Mapping[str, str]) -> list[State]:
    """The containers of hosts that do not respond: nobody knows their state."""
    return [
        {"host": host.name, "service": service, "container": container, "state": UNREACHABLE, "health": "",
         "restarts": 0, "started": None, "image": "", "reason": unreachable[host.name]}
        for service in sorted(services)
        for container in region.catalog.services[service].containers
        for host in region.hosts_of(service, container)
        if host.name in unreachable
    ]  # fmt: skip


def _check_placed(region: Region, names: tuple[str, ...], services: frozenset[str], hosts: frozenset[str]) -> None:
    """:raises RefusedError: nothing of the selection runs on these hosts: an empty table would look like good news"""
    placed = {
        host.name
        for service in services
        for container in region.catalog.services[service].containers
        for host in region.hosts_of(service, container)
        if container in names or service in names or not set(names) & region.catalog.owner.keys()
    }
    if not placed & hosts:
        raise RefusedError(
            f"{', '.join(names)}: does not run on {', '.join(sorted(hosts))}",
            f"it runs on: {', '.join(sorted(placed))}",
        )
