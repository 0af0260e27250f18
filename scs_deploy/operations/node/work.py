# SPDX-License-Identifier: Apache-2.0
"""What every step of a plan for a host works with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scs_deploy import clusters
from scs_deploy.clusters.base import (
    AddressHolder,
    Balancer,
    ClusterDriver,
    ClusterState,
    DataHost,
    GatewayHost,
    SharedStorage,
)
from scs_deploy.engine import runner
from scs_deploy.engine.access import Access
from scs_deploy.engine.events import Note
from scs_deploy.operations.base import Session
from scs_deploy.operations.node.plan import NodePlan
from scs_deploy.operations.node.view import View
from scs_deploy.region.region import Region
from scs_deploy.state.runs import RunRecord


@dataclass(frozen=True)
class Work:
    """A plan for a host that is being carried out."""

    region: Region
    view: View
    """what was seen before the plan was made"""
    plan: NodePlan
    record: RunRecord
    session: Session

    @property
    def host(self) -> str:
        """Whom the plan is about."""
        return self.plan.host

    @cached_property
    def drivers(self) -> dict[str, ClusterDriver]:
        """The region's cluster drivers, by service."""
        return clusters.of(self.region)

    @property
    def balancers(self) -> list[Balancer]:
        """Drivers of load balancers."""
        return [d for d in self.drivers.values() if isinstance(d, Balancer)]

    @property
    def address_holders(self) -> list[AddressHolder]:
        """Drivers of what holds API addresses."""
        return [d for d in self.drivers.values() if isinstance(d, AddressHolder)]

    @property
    def gateway_hosts(self) -> list[GatewayHost]:
        """Drivers of what routers' traffic passes through."""
        return [d for d in self.drivers.values() if isinstance(d, GatewayHost)]

    @property
    def data_hosts(self) -> list[DataHost]:
        """Drivers of what holds copies of data."""
        return [d for d in self.drivers.values() if isinstance(d, DataHost)]

    @property
    def shared_storage(self) -> list[SharedStorage]:
        """Drivers of what has guests' disks."""
        return [d for d in self.drivers.values() if isinstance(d, SharedStorage)]

    @cached_property
    def access(self) -> Access:
        """To all containers of the region."""
        return Access(self.region, lambda _kind, text: self.say(text))

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        self.session.emit(Note(text, self.host))

    def members(self) -> Iterator[tuple[ClusterDriver, ClusterState]]:
        """Clusters that the host is, or shall be, a member of."""
        for state in self.view.clusters:
            if self.host in {*state.members, *state.wanted}:
                yield self.drivers[state.service], state

    def play(self, hosts: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> None:
        """Run tasks on hosts.

        :raises ScsError: a task failed or a host is unreachable
        """
        play = {"name": self.plan.verb, "hosts": ",".join(hosts), "gather_facts": False, "tasks": list(tasks)}
        runner.run_playbook(self.region.environment, [play], keep_results=True).raise_for(changing=True)
