# SPDX-License-Identifier: Apache-2.0
"""What each step does. Every step finds out what is done already, so that it may be repeated after an interruption."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from scs_deploy.base.errors import ScsError
from scs_deploy.operations.node import membership, pipelines, plan
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.migrate import migrate
from scs_deploy.operations.node.view import disabled_reason
from scs_deploy.operations.node.work import Work
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.secrets import pki
from scs_deploy.shared import compute_node

SESSIONS = 30
"""Seconds for requests that a drained server still works on."""

ADDRESSES, UP = 60, 180
"""Seconds until the API addresses are elsewhere, until servers of a host are up again."""


class Effects:
    """Carries out the steps of one plan."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.region, self.view, self.plan, self.host = work.region, work.view, work.plan, work.host

    @property
    def cloud(self) -> Cloud:
        """A new connection: the API's address moves in the course of a drain."""
        return Cloud(self.region.environment)

    # compute

    def disable_compute(self) -> None:
        """The scheduler leaves the host out."""
        self.cloud.disable(self.host, disabled_reason(self.plan.verb))

    def enable_compute(self) -> None:
        """The scheduler uses the host."""
        self.cloud.enable(self.host)

    def move_guests(self) -> None:
        """Live-migrate what can leave.

        :raises ScsError: a guest did not; the others did
        """
        staying = {s.id for s in self.plan.stays}
        moving = [g for g in self.view.guests.get(self.host, ()) if g.id not in staying]
        migrate(self.cloud, self.host, moving, self.work.record, self.work.session.emit)

    def delete_compute(self) -> None:
        """Nova and Placement forget the host."""
        self.cloud.delete_service(self.host)

    def delete_agents(self) -> None:
        """The network forgets the chassis."""
        for driver in self.work.gateway_hosts:
            driver.delete(self.work.access, self.view.clusters, self.host)
        if "neutron" in self.region.catalog.services:
            self.cloud.delete_agents(self.host)

    # gateways

    def release_gateways(self) -> None:
        """No router's gateway stays.

        :raises ScsError: one does
        """
        for driver in self.work.gateway_hosts:
            if left := driver.release(self.work.access, self.view.clusters, self.host):
                raise ScsError(
                    f"routers' gateways are still on {self.host}: {left}", "scs status; then repeat the command"
                )

    def take_gateways(self) -> None:
        """Neutron may schedule routers here again."""
        for driver in self.work.gateway_hosts:
            driver.take(self.work.access, self.host)

    # load balancers, addresses and leaders

    def drain_balancer(self) -> None:
        """No load balancer sends new requests; those at work end."""
        for where, sessions in self._move(self._states("drain"), wait=SESSIONS).items():
            if sessions:
                open_ones = ", ".join(f"{b} {n}" for b, n in sorted(sessions.items()))
                self.work.say(f"the load balancer of {where} still has sessions: {open_ones}; they end with the server")

    def move_writer(self) -> None:
        """The one member in use becomes another one: sessions end, and clients open new ones there.

        :raises ScsError: no other member is up
        """
        states = self._states("maint")
        for backend in states:
            others = {s.host for s in self.view.servers if s.backend == backend and s.up and s.host != self.host}
            if not others:
                raise ScsError(f"{backend}: no other member is up", "scs status")
        self._move(states)

    def move_leaders(self) -> None:
        """Other members lead.

        :raises ScsError: a member here still does
        """
        for state in plan.led_by(self.view, self.host):
            self.work.drivers[state.service].step_down(self.work.access, state, self.host)

    def hold_back(self) -> None:
        """The load balancers of the other hosts leave this one out while it is built."""
        self._move(self._states("drain") | self._states("maint"), but=self.host)

    def move_addresses(self) -> None:
        """The host is marked, and its API addresses go to another one.

        :raises ScsError: they stay, or no host takes them
        """
        self._mark(drained=True)
        for driver in self.work.address_holders:
            held = partial(driver.held, self.work.access, self._balancers(), self.host)
            if left := self.work.access.wait(held, ADDRESSES, show=False):
                raise ScsError(left, "scs status; then repeat the command")

    def use_balancer(self) -> None:
        """All load balancers use the host again, once its servers are up.

        :raises ScsError: one is not
        """
        self._mark(drained=False)
        self._move(dict.fromkeys(self.view.backends, "ready"))
        for driver in self.work.balancers:
            down = partial(driver.down, self.work.access, self._balancers(), self.host)
            if left := self.work.access.wait(down, UP, show=False):
                raise ScsError(f"requests do not go to {self.host}: {left}", f"scs status --host {self.host}")

    def _states(self, how: str) -> dict[str, str]:
        return {b: how for b, own in self.view.backends.items() if own == how}

    def _balancers(self, but: str = "") -> Iterable[str]:
        return [b for b in self.view.balancers if b != but and not self.view.hosts[b].unreachable]

    def _mark(self, drained: bool) -> None:
        for driver in self.work.balancers:
            driver.mark(self.work.access, self.host, drained)

    def _move(self, states: dict[str, str], wait: int = 0, but: str = "") -> dict[str, dict[str, int]]:
        """Set states in every load balancer; sessions left by its host."""
        left: dict[str, dict[str, int]] = {}
        for driver in self.work.balancers:
            left |= driver.move(self.work.access, self._balancers(but), self.host, states, wait)
        return left

    # a host that comes or goes

    def certificates(self) -> None:
        """Leaves for all hosts of the inventory."""

        issued = pki.ensure(self.region.environment, wanted_leaves(self.region.environment, self.region.inventory))
        self.work.say(f"{len(issued)} certificates issued")
        self.region.__dict__.pop("certificates", None)

    def bootstrap(self) -> None:
        """Docker and what else a host needs."""
        pipelines.bootstrap(self.work, (self.host,))

    def bootstrap_all(self) -> None:
        """The new host, and the others, which must know its name."""
        pipelines.bootstrap(self.work, ())

    def identity(self) -> None:
        """The compute node that Nova knows under its name."""
        self.work.play((self.host,), compute_node.tasks(self.region, {self.host: self.view.computes[self.host].uuid}))

    def apply(self) -> None:
        """The normal pipeline."""
        pipelines.apply(self.work, everything=self.plan.verb == "add")

    def remove_containers(self) -> None:
        """In the reverse order of starting."""
        pipelines.remove(self.work)

    def purge(self) -> None:
        """Volumes, and configuration with its keys and passwords."""
        pipelines.purge(self.work)

    def leave(self) -> None:
        """Members leave while they run."""
        membership.leave(self.work)

    def forget(self) -> None:
        """Clusters forget what will not come back."""
        membership.forget(self.work)

    def verify(self) -> None:
        """Everything works that shall."""
        membership.verify(self.work)

    def note(self, drained: bool) -> None:
        """Leave on the host, for `scs plan` and `scs status`, whether it is out of use."""
        file = {"path": "/var/lib/scs/drained", "state": "touch" if drained else "absent"}
        if drained:
            file |= {"mode": "0644", "access_time": "preserve", "modification_time": "preserve"}
        self.work.play((self.host,), [{"name": "Note the drain", "ansible.builtin.file": file}])
