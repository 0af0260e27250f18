# SPDX-License-Identifier: Apache-2.0
"""The driver for OVSDB's Raft clusters, one for each database of a service, and for the chassis that they serve."""

from __future__ import annotations

from collections.abc import Iterable

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Answers, ClusterDriver, ClusterState, GatewayHost, Procedure, RecoveryOptions, Seen
from scs_deploy.clusters.raft import chassis, procedure, status
from scs_deploy.clusters.raft.recovery import RaftOptions
from scs_deploy.clusters.raft.settings import Database, Settings, cluster_command
from scs_deploy.clusters.raft.status import Raft
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command

GATEWAYS, LEAVING = 120, 60
"""Seconds to wait for router gateways to move, and for a member to leave."""


class Driver(ClusterDriver, GatewayHost):
    """Clusters whose servers have ids: a member that returns with an empty disk is a different server."""

    SETTINGS = Settings
    OPTIONS = RaftOptions
    replicated = True

    @property
    def settings(self) -> Settings:
        """The validated settings."""
        assert isinstance(self._settings, Settings)
        return self._settings

    def questions(self, host: str) -> dict[str, Command]:
        """Each database's view of its cluster, and the bindings of each chassis."""
        asked: dict[str, Command] = {
            container: cluster_command(container, database, "status")
            for container, database in self.settings.databases.items()
            if self.here(host, container)
        }
        if not self.settings.chassis:
            return asked
        if chassis.SOUTHBOUND in asked:
            asked |= {"ports": chassis.PORTS, "chassis": chassis.CHASSIS}
        if self.here(host, self.settings.chassis):
            asked["gateway"] = chassis.options(self.settings.chassis)
        return asked

    def parse(self, answers: Answers) -> Seen:
        """A cluster for each database, and the gateways."""
        return Seen(
            clusters=tuple(self._cluster(c, d, answers) for c, d in self.settings.databases.items()),
            gateways=chassis.ports(answers),
            may_route=frozenset(
                h for h, a in answers.items() if "gateway" in a and chassis.GATEWAY in a["gateway"].output
            ),
        )

    def _cluster(self, container: str, database: Database, answers: Answers) -> ClusterState:
        names = {self.region.inventory.hosts[h].management: h for h in self.hosts}
        views = {h: status.raft(a[container].output) for h, a in answers.items() if container in a}
        members = {h: r for h, r in views.items() if r and r.member}
        leader = next((h for h, r in members.items() if r.role == "leader"), "")
        listed = members[leader].servers if leader else next((r.servers for r in members.values()), ())
        return ClusterState(
            name=database.name,
            service=self.service.name,
            members=tuple(sorted({names.get(s.address, s.address) for s in listed})),
            alive=tuple(sorted(members)),
            wanted=self.hosts,
            leader=leader,
        )

    # membership

    def leave(self, access: Access, state: ClusterState, host: str) -> None:
        """Leave the cluster, which then counts one member less."""
        if host not in state.alive:
            return
        container, database = self._database(state)
        access.execute(host, cluster_command(container, database, "leave"))

        def staying() -> str:
            mine = self._ask(access, state, host)
            return mine.status if mine and mine.status != "left cluster" else ""

        if left := access.wait(staying, LEAVING, show=False):
            raise ScsError(f"could not remove the member on {host} from cluster {state.name}: {left}")
        access.say("note", f"{state.name}: the member on {host} has left the cluster")

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:
        """Kick the host's earlier servers by id."""
        other = state.other(host)
        if not other:
            return
        container, database = self._database(state)
        address = self.region.inventory.hosts[host].management
        view = self._ask(access, state, other)
        own = ""
        if not empty:
            mine = self._ask(access, state, host)
            own = mine.id if mine and mine.member else ""
        for server in status.stale(view, address, own, empty) if view else ():
            answer = access.execute(other, cluster_command(container, database, "kick", server))
            if answer.code:
                raise ScsError(f"could not remove {server} from cluster {state.name}: {answer.output.strip()[:200]}")
            access.say("note", f"removed {server} at {address} from cluster {state.name}")

    def _database(self, state: ClusterState) -> tuple[str, Database]:
        return next((c, d) for c, d in self.settings.databases.items() if d.name == state.name)

    def _ask(self, access: Access, state: ClusterState, host: str) -> Raft | None:
        container, database = self._database(state)
        return status.raft(access.execute(host, cluster_command(container, database, "status")).output)

    # gateways

    def release(self, access: Access, seen: Iterable[ClusterState], host: str) -> str:
        """Remove the chassis' gateway option, and wait until its ports have moved."""
        access.output(host, chassis.leave(self.settings.chassis))
        member = self._southbound(seen, host)
        if not member:
            raise ScsError("OVN southbound: no working member on another host", f"scs status {self.service.name}")

        def left() -> str:
            found = access.run({member: [chassis.PORTS, chassis.CHASSIS]}).by_host.get(member, ())
            if len(found) != 2 or any(a.code for a in found):
                raise ScsError(f"host {member}: ovn-sbctl failed", f"scs status {self.service.name}")
            return ", ".join(chassis.bindings(found[0].output, found[1].output).get(host, ()))

        return access.wait(left, GATEWAYS, show=False)

    def take(self, access: Access, host: str) -> None:
        """Set the chassis' gateway option again."""
        access.output(host, chassis.offer(self.settings.chassis))

    def delete(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Delete the chassis from the southbound database."""
        if member := self._southbound(seen, host):
            for command in chassis.deletions(host):
                access.output(member, command)

    def _southbound(self, seen: Iterable[ClusterState], host: str) -> str:
        """Another host where the southbound database works; '' if there is none."""
        database = self.settings.databases.get(chassis.SOUTHBOUND)
        return next((c.other(host) for c in seen if database and c.name == database.name), "")

    def recovery(self, options: RecoveryOptions) -> Procedure:
        """Replace lost servers, or create a new cluster from one member's data."""
        return procedure.RaftProcedure(
            RaftOptions.model_validate(options.model_dump()), self.service.name, self.settings
        )
