# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ's driver. A stopped member remains a member until the others forget it."""

from __future__ import annotations

import json

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Answers, ClusterDriver, ClusterState, Procedure, RecoveryOptions, Seen
from scs_deploy.clusters.rabbitmq import procedure
from scs_deploy.clusters.rabbitmq.recovery import SERVICE, RabbitmqOptions, host_of
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command
from scs_deploy.shared import state as shared_state
from scs_deploy.shared.messaging import Messaging

NODES = Command(container=SERVICE, argv=("curl", "--config", "/etc/rabbitmq/nodes.curl"), timeout=20)
"""The management API's list of nodes, which costs a fraction of rabbitmqctl."""


class Driver(ClusterDriver):
    """A cluster of RabbitMQ brokers."""

    OPTIONS = RabbitmqOptions
    replicated = True

    def questions(self, host: str) -> dict[str, Command]:
        """The nodes that the host's broker knows."""
        return {"nodes": NODES} if self.here(host, SERVICE) else {}

    def parse(self, answers: Answers) -> Seen:
        """One cluster, as seen by the first broker that responds."""
        views = (parse(a["nodes"].output) for a in answers.values() if "nodes" in a and not a["nodes"].code)
        nodes = next(filter(None, views), {})
        state = ClusterState(
            name="RabbitMQ",
            service=self.service.name,
            members=tuple(sorted(nodes)),
            alive=tuple(sorted(h for h, running in nodes.items() if running)),
            wanted=self.hosts,
        )
        return Seen(clusters=(state,))

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:
        """Forget a node that is not running and has lost its data."""
        other = state.other(host)
        if not (empty and other and host in state.members):
            return
        with self._session(but=host) as session:
            if session.nodes().get(f"rabbit@{host}") is not False:
                # not a member, or running
                return
        argv = ("rabbitmqctl", "--quiet", "--timeout", "60", "forget_cluster_node", f"rabbit@{host}")
        answer = access.execute(other, Command(container=SERVICE, argv=argv, timeout=90))
        if answer.code:
            raise ScsError(
                f"could not remove rabbit@{host} from cluster RabbitMQ: {' '.join(answer.output.split())[:300]}"
            )
        access.say("note", f"removed rabbit@{host} from cluster RabbitMQ")

    def unfinished(self, access: Access, host: str) -> list[str]:  # noqa: ARG002 - asks the API
        """Quorum queues that could have a replica on the host, but have none."""
        with self._session() as session:
            running = {n for n, up in session.nodes().items() if up}
            node = f"rabbit@{host}"
            queues = session.quorum_queues().items()
            short = [q for q, (members, _) in queues if node not in members and members != running]
        return [f"{len(short)} quorum queues have no replica on {host} yet"] if short else []

    def recovery(self, options: RecoveryOptions) -> Procedure:
        """Bring members back, with their data or without."""
        return procedure.RabbitmqProcedure(RabbitmqOptions.model_validate(options.model_dump()))

    def _session(self, but: str = "") -> Messaging:
        """A session with any broker that responds.

        :param but: exclude this host's broker
        :raises ScsError: there is no other broker
        """
        hosts = [self.region.inventory.hosts[h].management for h in self.hosts if h != but]
        if not hosts:
            raise ScsError(f"{self.service.name}: no other broker to query")
        return shared_state.broker_session(self.region, hosts, timeout=5)


def parse(text: str) -> dict[str, bool]:
    """Host: whether its node is running; empty if the text is not a list of nodes.

    Source: RabbitMQ HTTP API reference, GET /api/nodes
    """
    try:
        return {host_of(n["name"]): bool(n.get("running")) for n in json.loads(text)}
    except (ValueError, TypeError, KeyError):
        return {}
