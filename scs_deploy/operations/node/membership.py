# SPDX-License-Identifier: Apache-2.0
"""Handles a host's members of all clusters: leave, remove, verify."""

from __future__ import annotations

import time

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.observe import observe_hosts
from scs_deploy.operations.node import observe
from scs_deploy.operations.node.view import View
from scs_deploy.operations.node.work import Work

WHOLE = 900
"""Seconds for members to sync; a cluster may copy all its data."""

INTERVAL = 2.0
"""Seconds between two observations."""

QUIET = 20
"""Seconds between two progress messages."""


def leave(work: Work) -> None:
    """Have the host's members leave their clusters.

    :raises ScsError: a member could not leave
    """
    for driver, state in work.members():
        driver.leave(work.access, state, work.host)


def forget(work: Work) -> None:
    """Remove members that will not come back from their clusters.

    :raises ScsError: a member could not be removed
    """
    empty = work.plan.verb == "remove" or work.view.hosts[work.host].empty
    for driver, state in work.members():
        if work.host in state.wanted:
            driver.forget(work.access, state, work.host, empty)


def missing(view: View, host: str) -> list[str]:
    """What is missing until a host's memberships are healthy. Pure."""
    if why := view.hosts[host].unreachable:
        return [f"{host} is unreachable: {why}"]
    result = [line for cluster in view.clusters for line in cluster.lacking(host)]
    result += [
        f"load balancer on {s.balancer}: {s.backend} is down"
        for s in view.servers
        if s.host == host and not s.up and s.state != "maint"
    ]
    compute = view.computes.get(host)
    if "compute" in view.hosts[host].groups:
        if view.no_compute:
            result.append(f"Nova does not respond: {view.no_compute}")
        elif compute is None or not compute.up:
            result.append("its compute service is not up")
    return result


def verify(work: Work) -> None:
    """Wait until the host's containers are healthy and its members are in sync.

    :raises ScsError: something is still missing after `WHOLE` seconds
    """
    deadline = time.monotonic() + WHOLE
    told = time.monotonic()
    while True:
        lacking = missing(observe.observe(work.region, guests_of=()), work.host) or _containers(work)
        lacking = lacking or _unfinished(work)
        if not lacking:
            return
        if time.monotonic() > deadline:
            raise ScsError(f"{work.host}: {'; '.join(lacking[:5])}", f"scs status --host {work.host}")
        if time.monotonic() - told > QUIET:
            work.say(f"waiting: {'; '.join(lacking[:3])}")
            told = time.monotonic()
        time.sleep(INTERVAL)


def _containers(work: Work) -> list[str]:
    services = frozenset(work.region.catalog.services)
    states = observe_hosts(work.region, services, states=True, hosts=(work.host,)).states
    return [
        f"{s['container']} is {s['health'] or s['state']}"
        for s in states
        if s["host"] == work.host and (s["state"] != "running" or s["health"] not in ("", "healthy"))
    ]


def _unfinished(work: Work) -> list[str]:
    own = [d for d in work.drivers.values() if work.host in d.hosts]
    return [line for driver in own for line in driver.unfinished(work.access, work.host)]
