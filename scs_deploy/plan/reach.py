# SPDX-License-Identifier: Apache-2.0
"""Which hosts a plan must see, and what an unreachable one means for the others. Pure.

In a large region some host is always down. One that only carries guests or their traffic keeps nobody from working on
the others: its changes wait. One whose members a cluster counts, or that serves requests, must respond, unless the
operator selected other hosts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.region.region import Region

HELD = "held: host unreachable"
"""What is said of a host whose changes wait until it responds."""


def indispensable(region: Region) -> frozenset[str]:
    """Hosts with a cluster's member, a server behind the load balancers, a load balancer, or a cluster's jobs."""
    catalog = region.catalog
    needed = {(e.service, e.container) for e in endpoints(region)}
    for name, service in catalog.services.items():
        if service.cluster or name in (*catalog.load_balancers, *catalog.address_holders):
            # one that is placed elsewhere uses the cluster and is no member, e.g. ovn_controller
            needed |= {(name, container) for container, spec in service.containers.items() if not spec.hosts}
        needed |= {(name, job.container) for job in service.jobs.values() if job.each == "cluster"}
    return frozenset(h.name for service, container in needed for h in region.hosts_of(service, container))


def unseen_services(region: Region, seen: Collection[str]) -> frozenset[str]:
    """Services with a container on a host that was not observed: it may run an earlier image."""
    return frozenset(
        name
        for name, service in region.catalog.services.items()
        if any(h.name not in seen for container in service.containers for h in region.hosts_of(name, container))
    )


@dataclass(frozen=True)
class Reach:
    """What was asked of the hosts, and who answered."""

    asked: tuple[str, ...]
    spared: frozenset[str]
    """hosts that need not answer"""
    selected: bool = False
    """the operator named the hosts to change"""
    unseen: frozenset[str] = frozenset()
    """services that may run an earlier image on a host that was not observed"""
    unreachable: dict[str, str] = field(default_factory=dict)
    """host: what ssh said"""

    @property
    def held(self) -> dict[str, str]:
        """Hosts that would be changed if they were reachable."""
        return {} if self.selected else self.unreachable

    @property
    def absent(self) -> dict[str, str]:
        """Hosts that are not selected, and are out of reach of what is done with others."""
        return self.unreachable if self.selected else {}


def reach(region: Region, only: frozenset[str] | None) -> Reach:
    """Whom to ask.

    :param only: hosts that the operator selected; None: all
    """
    hosts, needed = frozenset(region.inventory.hosts), indispensable(region)
    if only is None:
        return Reach(tuple(sorted(hosts)), hosts - needed)
    return Reach(tuple(sorted(only | needed)), hosts - only, selected=True)


def split(
    region: Region, unreachable: Mapping[str, str], wanted: Collection[str], selected: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """(hosts whose changes wait, other hosts that are out of reach) of those that do not respond.

    :param wanted: hosts to change
    :param selected: hosts that the operator named; empty: all
    :raises RefusedError: a host must respond: it is selected, or others need it
    """
    must = selected or indispensable(region)
    refuse_unreachable({h: why for h, why in unreachable.items() if h in wanted and h in must})
    held = {h: why for h, why in unreachable.items() if h in wanted}
    return held, {h: why for h, why in unreachable.items() if h not in held}


def refuse_unreachable(unreachable: Mapping[str, str], what: str = "") -> None:
    """Refuse if hosts that are needed do not respond.

    :param what: needs every host, e.g. `a release upgrade`
    :raises RefusedError: names the first hosts
    """
    if unreachable:
        first = [f"host {host} is unreachable: {why}" for host, why in sorted(unreachable.items())[:3]]
        more = f"; and {len(unreachable) - 3} more hosts" if len(unreachable) > 3 else ""
        needs = f"{what} needs every host: " if what else ""
        repair = "check its address, its power and `scs console HOST`"
        hint = "repair it, or remove it: scs node remove HOST" if what else repair
        raise RefusedError(f"{needs}{'; '.join(first)}{more}", hint)
