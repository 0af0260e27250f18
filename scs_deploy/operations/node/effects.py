# SPDX-License-Identifier: Apache-2.0
"""Carries out the steps of node operations. Each step skips what is already done, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.operations.node import evacuation, guests, leftovers, membership, pipelines, plan
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.migrate import migrate
from scs_deploy.operations.node.rebuild import Rebuilding
from scs_deploy.operations.node.view import disabled_reason
from scs_deploy.operations.node.work import Work
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.secrets import pki
from scs_deploy.shared import compute_node

ADDRESSES, UP = 60, 180
"""Seconds for the API addresses to move to another host, and for a host's servers to come up."""


class Effects:
    """Carries out the steps of one plan."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.region, self.view, self.plan, self.host = work.region, work.view, work.plan, work.host

    @property
    def cloud(self) -> Cloud:
        """A new connection, because the API address moves during a drain."""
        return Cloud(self.region.environment)

    # compute

    def disable_compute(self) -> None:
        """Disable the compute service, so that the scheduler skips the host."""
        self.cloud.disable(self.host, disabled_reason(self.plan.verb))

    def enable_compute(self) -> None:
        """Enable the compute service."""
        self.cloud.enable(self.host)

    def move_guests(self) -> None:
        """Live-migrate all guests that can be moved.

        :raises ScsError: some guests could not be migrated; the others were
        """
        staying = {s.id for s in self.plan.stays}
        moving = [g for g in self.view.guests.get(self.host, ()) if g.id not in staying]
        migrate(self.cloud, self.host, moving, self.work.record, self.work.session.emit)

    # guests of a dead host, and what they left when it is back

    def fence(self) -> None:
        """Have the shared storage refuse everything that comes from the host."""
        for driver in self.work.shared_storage:
            driver.fence(self.work.access, self.host, self._addresses)

    def unfence(self) -> None:
        """Have the shared storage take from the host again."""
        for driver in self.work.shared_storage:
            driver.unfence(self.work.access, self.host, self._addresses)

    @property
    def _addresses(self) -> tuple[str, ...]:
        return self.region.inventory.hosts[self.host].addresses

    def force_down(self) -> None:
        """Have Nova take the compute service as down, whatever it reports."""
        self.cloud.force_down(self.host, down=True)

    def evacuate_guests(self) -> None:
        """Rebuild all guests that can be rebuilt elsewhere.

        :raises ScsError: some could not be rebuilt; the others were
        """
        staying = {s.id for s in self.plan.stays}
        own = [g for g in guests.of(self.view, self.host) if g.id not in staying]
        chosen = evacuation.destinations(self.view, self.host, own)
        Rebuilding(self.cloud, self.host, self.work.record, self.work.session.emit, chosen).run(own)

    def destroy_leftovers(self) -> None:
        """Destroy what runs on the host of guests that are elsewhere now, which it cannot know.

        :raises ScsError: libvirt does not answer there, or does not destroy one
        """
        leftovers.destroy(self.work, lambda: self.cloud)

    def force_up(self) -> None:
        """Have nova-compute remove what evacuated guests left, and Nova go by its reports again.

        :raises ScsError: it makes no progress
        """
        leftovers.clear(self.work, lambda: self.cloud)

    def delete_compute(self) -> None:
        """Delete the host's compute service and resource provider."""
        self.cloud.delete_service(self.host)

    def delete_agents(self) -> None:
        """Delete the host's network agents and its chassis."""
        for driver in self.work.gateway_hosts:
            driver.delete(self.work.access, self.view.clusters, self.host)
        if "neutron" in self.region.catalog.services:
            self.cloud.delete_agents(self.host)

    # gateways

    def release_gateways(self) -> None:
        """Move router gateways to other hosts.

        :raises ScsError: a gateway stays
        """
        for driver in self.work.gateway_hosts:
            if left := driver.release(self.work.access, self.view.clusters, self.host):
                raise ScsError(
                    f"router gateways are still on {self.host}: {left}", "scs status; then repeat the command"
                )

    def take_gateways(self) -> None:
        """Allow router gateways on the host again."""
        for driver in self.work.gateway_hosts:
            driver.take(self.work.access, self.host)

    # copies of data

    def hold_data(self) -> None:
        """Have no copies of the host's data made elsewhere while it is away."""
        for driver in self.work.data_hosts:
            driver.hold(self.work.access, self.view.clusters, self.host)

    def let_data_go(self) -> None:
        """Have copies made elsewhere again whenever the host is away."""
        for driver in self.work.data_hosts:
            driver.let_go(self.work.access, self.view.clusters, self.host)

    def move_data(self) -> None:
        """Make all copies of the host's data elsewhere.

        :raises ScsError: that makes no progress
        """
        for driver in self.work.data_hosts:
            driver.move_data(self.work.access, self.view.clusters, self.host)

    def drop_data(self) -> None:
        """Remove what held the host's data from the cluster: all of it if the host leaves, else what it lost.

        :raises ScsError: something would be lost
        """
        for driver in self.work.data_hosts:
            driver.drop_lost(self.work.access, self.view.clusters, self.host, everything=self.plan.verb == "remove")

    # load balancers, addresses and leaders

    def drain_balancer(self) -> None:
        """Drain the host's servers in every load balancer."""
        states = self._states("drain")
        wait = max((e.drain for e in endpoints(self.region) if e.name in states), default=0)
        for where, sessions in self._move(states, wait=wait).items():
            if sessions:
                open_ones = ", ".join(f"{b} {n}" for b, n in sorted(sessions.items()))
                self.work.say(
                    f"the load balancer on {where} still has open sessions, which end with the server: {open_ones}"
                )

    def move_writer(self) -> None:
        """Fail over backends with one active server to another host. Sessions end, and clients reconnect there.

        :raises ScsError: no other member is up
        """
        states = self._states("maint")
        for backend in states:
            others = {s.host for s in self.view.servers if s.backend == backend and s.up and s.host != self.host}
            if not others:
                raise ScsError(f"{backend}: no other member is up", "scs status")
        self._move(states)

    def move_leaders(self) -> None:
        """Have members on other hosts take over leadership.

        :raises ScsError: a member on this host still leads
        """
        for state in plan.led_by(self.view, self.host):
            self.work.drivers[state.service].step_down(self.work.access, state, self.host)

    def hold_back(self) -> None:
        """Exclude the host from the load balancers of other hosts while it is rebuilt."""
        self._move(self._states("drain") | self._states("maint"), but=self.host)

    def move_addresses(self) -> None:
        """Mark the host as drained, so that its API addresses move to another host.

        :raises ScsError: an address stays, or no host takes it
        """
        self._mark(drained=True)
        for driver in self.work.address_holders:
            held = partial(driver.held, self.work.access, self._balancers(), self.host)
            if left := self.work.access.wait(held, ADDRESSES, show=False):
                raise ScsError(left, "scs status; then repeat the command")

    def use_balancer(self) -> None:
        """Enable the host's servers in all load balancers, and wait until they are up.

        :raises ScsError: a server is not up
        """
        self._mark(drained=False)
        self._move(dict.fromkeys(self.view.backends, "ready"))
        for driver in self.work.balancers:
            down = partial(driver.down, self.work.access, self._balancers(), self.host)
            if left := self.work.access.wait(down, UP, show=False):
                raise ScsError(f"{self.host} receives no requests: {left}", f"scs status --host {self.host}")

    def _states(self, how: str) -> dict[str, str]:
        return {b: how for b, own in self.view.backends.items() if own == how}

    def _balancers(self, but: str = "") -> Iterable[str]:
        return [b for b in self.view.balancers if b != but and not self.view.hosts[b].unreachable]

    def _mark(self, drained: bool) -> None:
        for driver in self.work.balancers:
            driver.mark(self.work.access, self.host, drained)

    def _move(self, states: dict[str, str], wait: int = 0, but: str = "") -> dict[str, dict[str, int]]:
        """Set states in every load balancer; returns the remaining sessions by host of the load balancer."""
        left: dict[str, dict[str, int]] = {}
        for driver in self.work.balancers:
            left |= driver.move(self.work.access, self._balancers(but), self.host, states, wait)
        return left

    # a host that comes or goes

    def certificates(self) -> None:
        """Issue missing certificates for all hosts of the inventory."""

        region = self.region
        issued = pki.ensure(region.environment, wanted_leaves(region.environment, region.catalog, region.inventory))
        self.work.say(f"{counted(len(issued), 'certificate')} issued")
        self.region.reload_certificates()

    def bootstrap(self) -> None:
        """Bootstrap the host."""
        pipelines.bootstrap(self.work, (self.host,))

    def bootstrap_all(self) -> None:
        """Bootstrap the new host, and the others, which need its name."""
        pipelines.bootstrap(self.work, ())

    def identity(self) -> None:
        """Restore the identity of the compute node under which Nova knows the host."""
        self.work.play((self.host,), compute_node.tasks(self.region, {self.host: self.view.computes[self.host].uuid}))

    def apply(self) -> None:
        """Plan and apply."""
        pipelines.apply(self.work, everything=self.plan.verb == "add")

    def remove_containers(self) -> None:
        """Stop and remove the containers in the reverse order of their start."""
        pipelines.remove(self.work)

    def purge(self) -> None:
        """Remove volumes, and the configuration with its keys and passwords."""
        pipelines.purge(self.work)

    def leave(self) -> None:
        """Have running members leave their clusters."""
        membership.leave(self.work)

    def forget(self) -> None:
        """Remove members that will not come back from their clusters."""
        membership.forget(self.work)

    def verify(self) -> None:
        """Wait until containers and cluster members are healthy."""
        membership.verify(self.work)

    def note(self, drained: bool) -> None:
        """Mark the host as drained, or remove the mark, for `scs plan` and `scs status`."""
        file = {"path": "/var/lib/scs/drained", "state": "touch" if drained else "absent"}
        if drained:
            file |= {"mode": "0644", "access_time": "preserve", "modification_time": "preserve"}
        self.work.play((self.host,), [{"name": "Note the drain", "ansible.builtin.file": file}])
