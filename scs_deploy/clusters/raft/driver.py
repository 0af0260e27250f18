# SPDX-License-Identifier: Apache-2.0
"""The driver of OVSDB's raft clusters, one for each database of a service, and of the chassis that they serve."""

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
"""Seconds until routers' gateways are elsewhere, until a member has left."""


class Driver(ClusterDriver, GatewayHost):
    """Clusters whose servers have ids: one that comes back with an empty disk is another server."""

    SETTINGS = Settings
    OPTIONS = RaftOptions
    replicated = True

    @property
    def settings(self) -> Settings:
        """Its databases."""
        assert isinstance(self._settings, Settings)
        return self._settings

    def questions(self, host: str) -> dict[str, Command]:
        """Each database's view of its cluster, and what is bound to which chassis."""
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
        """The cluster counts one less from then on."""
        if host not in state.alive:
            return
        container, database = self._database(state)
        access.execute(host, cluster_command(container, database, "leave"))

        def staying() -> str:
            mine = self._ask(access, state, host)
            return mine.status if mine and mine.status != "left cluster" else ""

        if left := access.wait(staying, LEAVING, show=False):
            raise ScsError(f"{state.name}: the member on {host} does not leave: {left}")
        access.say("note", f"{state.name}: the member on {host} left")

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:
        """Kick the ids of earlier servers of the host."""
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
            access.say("note", f"{state.name} forgets member {server} at {address}")

    def _database(self, state: ClusterState) -> tuple[str, Database]:
        return next((c, d) for c, d in self.settings.databases.items() if d.name == state.name)

    def _ask(self, access: Access, state: ClusterState, host: str) -> Raft | None:
        container, database = self._database(state)
        return status.raft(access.execute(host, cluster_command(container, database, "status")).output)

    # gateways

    def release(self, access: Access, seen: Iterable[ClusterState], host: str) -> str:
        """Take the chassis' offer back, and wait until its ports are elsewhere."""
        access.output(host, chassis.leave(self.settings.chassis))
        member = self._southbound(seen, host)
        if not member:
            raise ScsError("OVN southbound: no member to ask", f"scs status {self.service.name}")

        def left() -> str:
            found = access.run({member: [chassis.PORTS, chassis.CHASSIS]}).by_host.get(member, ())
            if len(found) != 2 or any(a.code for a in found):
                raise ScsError(f"host {member}: ovn-sbctl does not answer", f"scs status {self.service.name}")
            return ", ".join(chassis.bindings(found[0].output, found[1].output).get(host, ()))

        return access.wait(left, GATEWAYS, show=False)

    def take(self, access: Access, host: str) -> None:
        """Offer the chassis again."""
        access.output(host, chassis.offer(self.settings.chassis))

    def delete(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Delete the chassis from the southbound database."""
        if member := self._southbound(seen, host):
            for command in chassis.deletions(host):
                access.output(member, command)

    def _southbound(self, seen: Iterable[ClusterState], host: str) -> str:
        """Another host where the southbound database works; '' when there is none."""
        database = self.settings.databases.get(chassis.SOUTHBOUND)
        return next((c.other(host) for c in seen if database and c.name == database.name), "")

    def recovery(self, options: RecoveryOptions) -> Procedure:
        """Replaces lost servers, or makes a new cluster of one member's data."""
        return procedure.RaftProcedure(
            RaftOptions.model_validate(options.model_dump()), self.service.name, self.settings
        )
