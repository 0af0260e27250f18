# SPDX-License-Identifier: Apache-2.0
"""What each step does. Every step finds out what is done already, so that it may be repeated after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import remote, runner
from scs_deploy.engine.events import Note, Watch
from scs_deploy.engine.remote import Command
from scs_deploy.operations.node import membership, observe, parse, pipelines
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.migrate import migrate
from scs_deploy.operations.node.plan import NodePlan
from scs_deploy.operations.node.view import BY_US, View
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki
from scs_deploy.shared import compute_node
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunRecord

SESSIONS = 30
"""Seconds for requests that a drained server still works on."""

ADDRESSES, GATEWAYS, UP = 60, 120, 180
"""Seconds until the API addresses are elsewhere, routers' gateways are, servers of a host are up again."""


class Effects:
    """Carries out the steps of one plan.

    :param view: what was seen before the plan was made
    """

    def __init__(
        self, region: Region, view: View, plan: NodePlan, record: RunRecord, lock: RunLock, watch: Watch
    ) -> None:
        self.region, self.view, self.plan, self.record, self.lock = region, view, plan, record, lock
        self.host = plan.host
        self.watch = watch

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        self.watch(Note(text, self.host))

    @property
    def cloud(self) -> Cloud:
        """A new connection: the API's address moves in the course of a drain."""
        return Cloud(self.region.environment)

    # compute

    def disable_compute(self) -> None:
        """The scheduler leaves the host out."""
        self.cloud.disable(self.host, f"{BY_US} {self.plan.verb}")

    def enable_compute(self) -> None:
        """The scheduler uses the host."""
        self.cloud.enable(self.host)

    def move_guests(self) -> None:
        """Live-migrate what can leave.

        :raises ScsError: a guest did not; the others did
        """
        staying = {s.partition("(")[2].partition(")")[0] for s in self.plan.stays}
        moving = [g for g in self.view.guests.get(self.host, ()) if g.id not in staying]
        migrate(self.cloud, self.host, moving, self.record, self.watch)

    def delete_compute(self) -> None:
        """Nova and Placement forget the host."""
        self.cloud.delete_service(self.host)

    def delete_agents(self) -> None:
        """OVN and Neutron forget the chassis."""
        member = self._southbound()
        if member:
            gone = observe.southbound("--if-exists", "chassis-del", self.host)
            self._execute(member, gone)
            gone = observe.southbound("--if-exists", "destroy", "Chassis_Private", self.host)
            self._execute(member, gone)
        if "neutron" in self.region.catalog.services:
            self.cloud.delete_agents(self.host)

    # gateways

    def release_gateways(self) -> None:
        """Neutron takes a chassis without the option out of every router, and OVN moves what is bound there.

        :raises ScsError: a router's gateway stays
        """
        away = ("remove", "Open_vSwitch", ".", "external_ids", "ovn-cms-options")
        self._execute(self.host, _vsctl("set", "Open_vSwitch", ".", "external_ids:scs-drained=true", "--", *away))
        left = self._wait(GATEWAYS, lambda: ", ".join(self._ports().get(self.host, ())))
        if left:
            raise ScsError(
                f"routers' gateways are still on {self.host}: {left}", "scs status neutron; then repeat the command"
            )

    def take_gateways(self) -> None:
        """Neutron may schedule routers here again."""
        back = ("set", "Open_vSwitch", ".", "external_ids:ovn-cms-options=enable-chassis-as-gw")
        self._execute(self.host, _vsctl("remove", "Open_vSwitch", ".", "external_ids", "scs-drained", "--", *back))

    def _ports(self) -> dict[str, tuple[str, ...]]:
        member = self._southbound()
        if not member:
            raise ScsError("OVN southbound: no member to ask", "scs status ovn")
        asked = observe.questions(self.region, member)
        answers = remote.execute(self.region, {member: [asked["ports"], asked["chassis"]]}).by_host.get(member, ())
        if len(answers) != 2 or any(a.code for a in answers):
            raise ScsError(f"host {member}: ovn-sbctl does not answer", "scs status ovn")
        return parse.bindings(answers[0].output, answers[1].output)

    # load balancers and addresses

    def drain_balancer(self) -> None:
        """No load balancer sends new requests; those at work end."""
        left = self._balance(self._states("drain"), wait=SESSIONS)
        for where, sessions in left.items():
            if sessions:
                open_ones = ", ".join(f"{b} {n}" for b, n in sorted(sessions.items()))
                self.say(f"the load balancer of {where} still has sessions: {open_ones}; they end with the server")

    def move_writer(self) -> None:
        """The one member in use becomes another one: sessions end, and clients open new ones there.

        :raises ScsError: no other member is up
        """
        states = self._states("maint")
        for backend in states:
            others = {s.host for s in self.view.servers if s.backend == backend and s.up and s.host != self.host}
            if not others:
                raise ScsError(f"{backend}: no other member is up", "scs status mariadb")
        self._balance(states)

    def hold_back(self) -> None:
        """The load balancers of the other hosts leave this one out while it is built."""
        self._balance(self._states("drain") | self._states("maint"), but=self.host)

    def move_addresses(self) -> None:
        """keepalived sees the mark and gives the addresses to another host.

        :raises ScsError: they stay, or nobody takes them
        """
        self._module(self.host, mark=True)

        def held() -> str:
            others = [b for b in self.view.balancers if not self.view.hosts[b].unreachable]
            asked = {b: observe.questions(self.region, b)["addresses"] for b in others}
            answers = remote.execute(self.region, {b: [c] for b, c in asked.items()}).by_host
            api = self.region.environment.settings.api
            for address in map(str, (api.internal.address, api.external.address)):
                at = [b for b, a in answers.items() if address in parse.addresses(a[0].output)]
                if self.host in at:
                    return f"{address} is still on {self.host}"
                if not at:
                    return f"no host holds {address}"
            return ""

        if left := self._wait(ADDRESSES, held):
            raise ScsError(left, "scs status keepalived; then repeat the command")

    def use_balancer(self) -> None:
        """All load balancers use the host again, once its servers are up.

        :raises ScsError: one is not
        """
        self._module(self.host, mark=False)
        self._balance(dict.fromkeys(self.view.backends, "ready"))

        def down() -> str:
            balancers = [b for b in self.view.balancers if not self.view.hosts[b].unreachable]
            asked = {b: [observe.questions(self.region, b)["servers"]] for b in balancers}
            answers = remote.execute(self.region, asked).by_host
            return ", ".join(
                sorted(
                    f"{s['backend']} at {b}"
                    for b, a in answers.items()
                    for s in parse.servers(a[0].output)
                    if s["name"] == self.host and not (s["up"] and s["state"] == "ready")
                )
            )

        if left := self._wait(UP, down):
            raise ScsError(f"HAProxy does not send to {self.host}: {left}", f"scs status --host {self.host}")

    def _states(self, how: str) -> dict[str, str]:
        return {b: how for b, own in self.view.backends.items() if own == how}

    def _balance(self, states: Mapping[str, str], wait: int = 0, but: str = "") -> dict[str, dict[str, int]]:
        """Set states in every load balancer; sessions left by its host."""
        chosen = [b for b in self.view.balancers if b != but and not self.view.hosts[b].unreachable]
        return self._module(*chosen, states=dict(states), wait=wait)

    def _module(self, *hosts: str, **arguments: Any) -> dict[str, dict[str, int]]:
        task = {"name": "Balance", "scs.core.balancer": {"server": self.host, **arguments}}
        results = self.play(hosts, [task])
        return {h: r.get("sessions") or {} for h, r in results.items()}

    # a host that comes or goes

    def certificates(self) -> None:
        """Leaves for all hosts of the inventory."""

        issued = pki.ensure(self.region.environment, wanted_leaves(self.region.environment, self.region.inventory))
        self.say(f"{len(issued)} certificates issued")
        self.region.__dict__.pop("certificates", None)

    def bootstrap(self) -> None:
        """Docker and what else a host needs."""
        pipelines.bootstrap(self, (self.host,))

    def bootstrap_all(self) -> None:
        """The new host, and the others, which must know its name."""
        pipelines.bootstrap(self, ())

    def identity(self) -> None:
        """The compute node that Nova knows under its name."""
        self.play((self.host,), compute_node.tasks(self.region, {self.host: self.view.computes[self.host].uuid}))

    def apply(self) -> None:
        """The normal pipeline."""
        pipelines.apply(self, everything=self.plan.verb == "add")

    def remove_containers(self) -> None:
        """In the reverse order of starting."""
        pipelines.remove(self)

    def purge(self) -> None:
        """Volumes, and configuration with its keys and passwords."""
        pipelines.purge(self)

    def leave(self) -> None:
        """Members leave while they run."""
        membership.leave(self)

    def forget(self) -> None:
        """Clusters forget what will not come back."""
        membership.forget(self)

    def verify(self) -> None:
        """Everything works that shall."""
        membership.verify(self)

    def note(self, drained: bool) -> None:
        """Leave on the host, for `scs plan` and `scs status`, whether it is out of use."""
        file = {"path": "/var/lib/scs/drained", "state": "touch" if drained else "absent"}
        if drained:
            file |= {"mode": "0644", "access_time": "preserve", "modification_time": "preserve"}
        self.play((self.host,), [{"name": "Note the drain", "ansible.builtin.file": file}])

    # tools

    def play(self, hosts: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Run tasks on hosts; the last one's result by host.

        :raises ScsError: a task failed or a host is unreachable
        """
        if not hosts:
            return {}
        play = {"name": self.plan.verb, "hosts": ",".join(hosts), "gather_facts": False, "tasks": list(tasks)}
        result = runner.run_playbook(self.region.environment, [play], keep_results=True)
        result.raise_for(changing=True)
        return result.results

    def execute(self, host: str, command: Command) -> remote.Answer:
        """One command on one host, however it ends.

        :raises ScsError: the host is unreachable
        """
        answers = remote.execute(self.region, {host: [command]})
        if host in answers.unreachable:
            raise ScsError(f"host {host} is unreachable: {answers.unreachable[host]}")
        return answers.by_host[host][0]

    def _execute(self, host: str, command: Command) -> str:
        answer = self.execute(host, command)
        if answer.code:
            raise ScsError(
                f"host {host}: {command.container}: {' '.join(command.argv)}: {' '.join(answer.output.split())[:300]}"
            )
        return answer.output

    def _southbound(self) -> str:
        """A host, not this one, where OVN's southbound database works; '' when there is none."""
        for cluster in self.view.clusters:
            if cluster.name == "OVN southbound":
                return next((h for h in cluster.alive if h != self.host), "")
        return ""

    def _wait(self, seconds: float, left: Callable[[], str]) -> str:
        """Ask until nothing is left; what is left at the end."""
        deadline = time.monotonic() + seconds
        while (now := left()) and time.monotonic() < deadline:
            time.sleep(1)
        return now


def _vsctl(*arguments: str) -> Command:
    return Command(container="ovn_controller", argv=("ovs-vsctl", "--timeout=10", "--no-wait", *arguments), timeout=20)
