# SPDX-License-Identifier: Apache-2.0
"""What the pages show, from a region's description and what is known of it. Pure: no rule of operation is here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scs_deploy.api.facts import Containers, Monitored, Series, State
from scs_deploy.desired.endpoints import ResolvedEndpoint, endpoints
from scs_deploy.images.recipe import Recipe, load_recipes
from scs_deploy.images.versions import program
from scs_deploy.inventory.model import Host
from scs_deploy.operations.containers import UNREACHABLE, works
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.shared.monitoring import Alert, Target
from scs_deploy.spec import metrics
from scs_deploy.spec.release import LockedImage
from scs_deploy.spec.service import Service


@dataclass(frozen=True)
class HostRow:
    """A host on the map of the region."""

    host: Host
    services: tuple[tuple[str, bool], ...]
    """name, and whether all of its containers there work as far as anybody knows"""
    total: int
    working: int | None
    """None: not known"""
    failing: tuple[State, ...]
    unreachable: str
    """why it does not respond"""
    drained: bool
    evacuated: bool

    @property
    def good(self) -> bool:
        """Whether all that is known of it is good."""
        return not self.failing and not self.unreachable


def works_well(state: State) -> bool:
    """As `scs status` decides."""
    return works({"state": state.state, "health": state.health})


def placed(region: Region) -> dict[str, list[tuple[str, str]]]:
    """host: the (service, container) pairs that belong there, in the catalog's order."""
    found: dict[str, list[tuple[str, str]]] = {h: [] for h in region.inventory.hosts}
    for service in region.catalog.services.values():
        for container in service.containers:
            for host in region.hosts_of(service.name, container):
                found[host.name].append((service.name, container))
    return found


def host_rows(region: Region, containers: Containers | None) -> list[HostRow]:
    """Every host of the inventory, by name."""
    by_host: dict[str, list[State]] = {}
    for state in containers.states if containers else ():
        by_host.setdefault(state.host, []).append(state)
    return [_row(region.inventory.hosts[n], own, by_host.get(n), containers) for n, own in placed(region).items()]


def _row(
    host: Host, own: Sequence[tuple[str, str]], states: Sequence[State] | None, containers: Containers | None
) -> HostRow:
    lost = next((s.reason for s in states or () if s.state == UNREACHABLE), "")
    failing = () if lost else tuple(s for s in states or () if not works_well(s))
    bad = {s.service for s in failing}
    return HostRow(
        host=host,
        services=tuple((s, s not in bad and not lost) for s in dict.fromkeys(s for s, _ in own)),
        total=len(own),
        working=None if states is None else 0 if lost else len(states) - len(failing),
        failing=failing,
        unreachable=lost,
        drained=bool(containers and host.name in containers.drained),
        evacuated=bool(containers and host.name in containers.evacuated),
    )


@lru_cache(maxsize=4)
def _recipes(region: Region) -> dict[str, Recipe]:
    return load_recipes(region.release)


def versions(region: Region, locked: Mapping[str, LockedImage]) -> dict[str, str]:
    """container: package and version of its program, as the release lock has them; without those that it lacks.

    :raises RefusedError: an error in a recipe
    """
    recipes = _recipes(region)
    found = {}
    for service in region.catalog.services.values():
        for container, spec in service.containers.items():
            image = spec.image or service.name
            if image in locked and image in recipes:
                package, version = program(recipes[image], locked[image], (image, service.name))
                found[container] = f"{package} {version}".strip()
    return {c: v for c, v in found.items() if v}


def racks(rows: Iterable[HostRow]) -> dict[str, list[HostRow]]:
    """Rack: its hosts. Without racks by availability zone, and those without either under an empty name."""
    found: dict[str, list[HostRow]] = {}
    for row in rows:
        found.setdefault(row.host.rack or row.host.zone or "", []).append(row)
    return dict(sorted(found.items()))


def kinds(plan: Plan) -> dict[str, int]:
    """Kind of change: how many, as the last line of `scs plan` has it."""
    return dict(Counter(c.kind.value for c in plan.changes))


def on_host(plan: Plan | None, host: str) -> tuple[Change, ...]:
    """What a plan changes on a host, held back or not."""
    return tuple(c for c in (*plan.changes, *plan.held, *plan.waiting) if c.host == host) if plan else ()


@dataclass(frozen=True)
class ServiceView:
    """All of a service, from its spec."""

    service: Service
    containers: tuple[tuple[str, tuple[Host, ...]], ...]
    endpoints: tuple[ResolvedEndpoint, ...]
    states: tuple[State, ...]
    targets: tuple[Target, ...]
    alerts: tuple[tuple[metrics.Alert, tuple[Alert, ...]], ...]
    """each alert that the service has, and where it is there now"""


def service_view(region: Region, name: str, containers: Containers | None, monitored: Monitored | None) -> ServiceView:
    """What is known of a service of the catalog.

    :raises KeyError: there is no such service
    """
    service = region.catalog.services[name]
    present = [a for a in monitored.alerts if a.counts] if monitored else []
    return ServiceView(
        service=service,
        containers=tuple((c, region.hosts_of(name, c)) for c in service.containers),
        endpoints=tuple(e for e in endpoints(region) if e.service == name),
        states=tuple(s for s in containers.states if s.service == name) if containers else (),
        targets=tuple(t for t in monitored.targets if t.job in service.containers) if monitored else (),
        alerts=tuple(
            (a, tuple(p for p in present if p.name == a.alert)) for a in metrics.alerts(service.directory)
        ),
    )  # fmt: skip


def chosen(series: Iterable[Series], names: Iterable[str]) -> tuple[Series, ...]:
    """The curves of these containers or proxies."""
    wanted = set(names)
    return tuple(s for s in series if s.name in wanted)


@dataclass(frozen=True)
class ServiceRow:
    """A service in the list."""

    service: Service
    hosts: int
    working: int | None
    total: int
    alerts: int


def service_rows(region: Region, containers: Containers | None, monitored: Monitored | None) -> list[ServiceRow]:
    """Every service of the catalog."""
    total: Counter[str] = Counter()
    hosts: dict[str, set[str]] = {}
    for host, own in placed(region).items():
        for service, _ in own:
            total[service] += 1
            hosts.setdefault(service, set()).add(host)
    working = Counter(s.service for s in containers.states if works_well(s)) if containers else None
    calling = Counter(a.service for a in monitored.alerts if a.counts) if monitored else Counter[str]()
    return [
        ServiceRow(
            service=s, hosts=len(hosts.get(s.name, ())), total=total[s.name], alerts=calling[s.name],
            working=None if working is None else working[s.name],
        )
        for s in region.catalog.services.values()
    ]  # fmt: skip
