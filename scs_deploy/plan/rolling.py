# SPDX-License-Identifier: Apache-2.0
"""The rules of a rolling change: the order of hosts, the gates, and which servers to drain first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.desired.endpoints import endpoints as endpoints_of
from scs_deploy.observed.model import BackendServer
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

STOPPING = frozenset({Kind.REPLACE, Kind.RESTART, Kind.STOP, Kind.REMOVE})
"""Kinds during which a container does not respond."""

ROLLING = STOPPING - {Kind.STOP}
"""Kinds that need the other members to keep working. `scs stop` is not among them: the operator may stop a whole
cluster."""

UP = 120
"""Seconds until a server is up in every load balancer: health checks take a few, copying data longer."""


class Backend(Model):
    """A backend of the load balancers with several servers, each named as its host."""

    name: str
    service: str
    containers: tuple[str, ...] = Field(description="those that a server needs: it answers, or tells of its health")
    hosts: tuple[str, ...]
    single: bool = Field(description="one server is in use, the others stand by: it must become another one first")
    http: bool = Field(description="sessions are requests, which end by themselves")
    drain: int = Field(default=30, description="seconds for a drained server to finish its requests")
    copies: bool = Field(default=False, description="a server may be down for long, until it has its data")


class Rolling(Model):
    """The facts about a region that a rolling change depends on."""

    balancers: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    gated: frozenset[str] = Field(default=frozenset(), description="containers that ask before they stop")
    alone: frozenset[str] = Field(
        default=frozenset(), description="containers of which a host changes one after the other, each asking anew"
    )
    undrained: frozenset[str] = Field(
        default=frozenset(), description="containers behind no load balancer that have something to do before they stop"
    )
    agents: dict[str, tuple[str, str]] = Field(default={}, description="container: api and name that report on it")
    computes: frozenset[str] = Field(default=frozenset(), description="containers of compute hosts only")
    batch: int = Field(default=1, description="compute hosts at once")
    pulls: int = Field(default=0, description="hosts that pull images at once; 0: all")

    @classmethod
    def of(cls, region: Region) -> Rolling:
        """A region's, from its catalog and inventory."""
        services = region.catalog.services
        backends = []
        endpoints = endpoints_of(region)
        ingresses = tuple(n for s in services.values() for n, c in s.containers.items() if c.ingress)
        for e in endpoints:
            if len(e.backends) > 1:
                # its health is told by another container of the service
                other = tuple(services[e.service].containers) if e.health_port else ()
                other += ingresses if e.ingress else ()
                backends.append(
                    Backend(
                        name=e.name, service=e.service, containers=tuple(dict.fromkeys((e.container, *other))),
                        hosts=tuple(b.name for b in e.backends), single=e.balance == "single",
                        http=e.protocol == "http", drain=e.drain, copies=e.copies,
                    )
                )  # fmt: skip
        specs = [(s, n, c) for s in services.values() for n, c in s.containers.items()]
        return cls(
            balancers=tuple(
                h.name for name in region.catalog.load_balancers for h in region.hosts_of(name)
            ),
            backends=tuple(backends),
            gated=frozenset(n for _, n, c in specs if c.roll and c.roll.gate),
            alone=frozenset(n for _, n, c in specs if c.roll and c.roll.alone),
            undrained=frozenset(n for _, n, c in specs if c.roll and c.roll.leave) - {e.container for e in endpoints},
            agents={n: (c.agent.api, c.agent.binary) for _, n, c in specs if c.agent},
            computes=frozenset(n for s, n, c in specs if (c.hosts or s.hosts) == ("compute",)),
            batch=region.environment.settings.rolling.compute_hosts,
            pulls=region.environment.settings.rolling.image_pulls,
        )  # fmt: skip

    def without(self, drained: Iterable[str]) -> Rolling:
        """The same without hosts that an operator drained: they stay out of the load balancers."""
        gone = frozenset(drained)
        backends = (b.model_copy(update={"hosts": tuple(h for h in b.hosts if h not in gone)}) for b in self.backends)
        return self.model_copy(update={"backends": tuple(backends)})

    def out_of_reach(self, hosts: Container[str]) -> Rolling:
        """The same without load balancers on hosts that do not respond: their health checks must do."""
        return self.model_copy(update={"balancers": tuple(h for h in self.balancers if h not in hosts)})

    def drains(self, host: str, changes: Iterable[Change]) -> tuple[Backend, ...]:
        """Backends in which a host is drained while these changes are made to it."""
        stopping = {c.subject for c in changes if c.kind in ROLLING}
        return tuple(
            b for b in self.backends if self.balancers and host in b.hosts and not stopping.isdisjoint(b.containers)
        )

    def gates(self, changes: Iterable[Change]) -> tuple[str, ...]:
        """Containers whose gate must pass before these changes begin."""
        return tuple(c.subject for c in changes if c.kind in ROLLING and c.subject in self.gated)

    def parts(self, changes: Sequence[Change]) -> list[list[Change]]:
        """One host's changes in the groups that are asked for and made one after the other."""
        single = [c for c in changes if c.kind in ROLLING and c.subject in self.alone]
        rest = [c for c in changes if c not in single]
        return [part for part in (rest, *([c] for c in single)) if part]

    def agents_to_await(self, hosts: Iterable[str], changes: Sequence[Change]) -> list[dict[str, str]]:
        """Processes that must report to their API after these changes to these hosts."""
        back = dict.fromkeys(c.subject for c in changes if c.kind in (Kind.REPLACE, Kind.RESTART))
        known = [self.agents[name] for name in back if name in self.agents]
        return [{"api": api, "binary": binary, "host": host} for host in hosts for api, binary in known]

    def batch_size(self, changes: Sequence[Change]) -> int:
        """Number of hosts that may change at the same time."""
        return self.batch if all(c.subject in self.computes for c in changes) else 1


def leftovers(hosts: Sequence[HostPlan], rolling: Rolling, evacuated: Collection[str] = ()) -> list[Change]:
    """Changes that enable servers which an interrupted run left drained in a load balancer.

    Leaves out hosts that `scs node drain` drained, and servers that this plan changes, which it enables itself.

    :param evacuated: hosts that `scs node evacuate` took out of use
    """
    services = {b.name: b.service for b in rolling.backends}
    drained = {h.host for h in hosts if h.drained}.union(evacuated)
    rolled = {(b.name, h.host) for h in hosts for b in rolling.drains(h.host, h.changes)}
    result = []
    for plan in hosts:
        for forced in sorted(plan.forced, key=str):
            backend, server = forced.backend, forced.server
            if backend not in services or server in drained or (backend, server) in rolled:
                continue
            result.append(
                Change(
                    kind=Kind.UNDRAIN, service=services[backend], host=plan.host, subject=str(forced),
                    reason=f"{forced.state} in this host's HAProxy, but not by `scs node drain`",
                    phase=Phase.ROLL, impact=Impact.NONE, balanced=BackendServer(backend=backend, server=server),
                )
            )  # fmt: skip
    return result


def hosts_in_use(
    hosts: Sequence[HostPlan], backends: Iterable[Backend], holders: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Service: hosts to change last, so that what is in use moves only once.

    :param holders: service: addresses whose hosts are in use
    """
    result = {
        service: {h.host for h in hosts if not set(addresses).isdisjoint(h.addresses)}
        for service, addresses in holders.items()
    }
    down = {(s.backend, s.server) for h in hosts for s in h.down}
    for backend in backends:
        late = result.setdefault(backend.service, set())
        if found := next((h.used[backend.name] for h in hosts if backend.name in h.used), ""):
            late.add(found)
        up = [h for h in backend.hosts if (backend.name, h) not in down]
        if len(up) == 1:
            # the others are repaired first
            result[backend.service] = set(up)
    return {service: tuple(sorted(late)) for service, late in result.items() if late}


def ordered(hosts: Iterable[str], changes: Iterable[Change], in_use: Mapping[str, Iterable[str]]) -> list[str]:
    """Hosts in the order in which to change them: by name, those in use last."""
    late = {h for c in changes for h in in_use.get(c.service, ())}
    return sorted(hosts, key=lambda h: (h in late, h))
