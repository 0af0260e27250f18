# SPDX-License-Identifier: Apache-2.0
"""Members of Galera, RabbitMQ and OVN's raft clusters: leaving, being forgotten, being whole again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.observe import observe_hosts
from scs_deploy.engine.remote import Command
from scs_deploy.operations.node import observe, parse
from scs_deploy.operations.node.parse import Raft
from scs_deploy.operations.node.view import View

if TYPE_CHECKING:
    from scs_deploy.operations.node.effects import Effects

WHOLE = 900
"""Seconds for members to take over the data of the others; Galera copies all of it."""

QUIET = 20
"""Seconds between two lines that tell what is waited for."""


def stale(status: Raft, address: str, own: str, empty: bool) -> tuple[str, ...]:
    """Ids under which a raft cluster still lists a host's earlier members.

    :param address: the host's management address
    :param own: the id that the host's member has now; '' when it does not answer
    :param empty: the host has no member at all, so every id of its address is an earlier one's
    """
    if not own and not empty:
        # it may be stopped only: the id is in its file, and once kicked it could not come back
        return ()
    return tuple(s.id for s in status.servers if s.address == address and s.id != own)


def forget(effects: Effects) -> None:
    """Have raft and RabbitMQ clusters forget members that will not come back.

    :raises ScsError: a cluster refuses
    """
    gone = effects.plan.verb == "remove"
    empty = gone or effects.view.hosts[effects.host].empty
    address = effects.region.inventory.hosts[effects.host].management
    for cluster in effects.view.clusters:
        other = next((h for h in cluster.alive if h != effects.host), "")
        if effects.host not in cluster.wanted or not other:
            continue
        if cluster.name in observe.OVN:
            status = parse.raft(effects.execute(other, observe.raft(cluster.name, "status")).output)
            own = ""
            if not empty:
                mine = parse.raft(effects.execute(effects.host, observe.raft(cluster.name, "status")).output)
                own = mine.id if mine and mine.member else ""
            for server in stale(status, address, own, empty) if status else ():
                answer = effects.execute(other, observe.raft(cluster.name, "kick", server))
                if answer.code:
                    raise ScsError(f"{cluster.name} does not let go of {server}: {answer.output.strip()[:200]}")
                effects.say(f"{cluster.name} forgets member {server} at {address}")
        elif cluster.name == "RabbitMQ" and empty and effects.host in cluster.members:
            _forget_broker(effects, other)


def _forget_broker(effects: Effects, other: str) -> None:
    with observe.broker(effects.region, but=effects.host) as session:
        if session.nodes().get(f"rabbit@{effects.host}") is not False:
            # not a member, or one that runs
            return
    argv = ("rabbitmqctl", "--quiet", "--timeout", "60", "forget_cluster_node", f"rabbit@{effects.host}")
    answer = effects.execute(other, Command(container="rabbitmq", argv=argv, timeout=90))
    if answer.code:
        raise ScsError(f"RabbitMQ does not forget rabbit@{effects.host}: {' '.join(answer.output.split())[:300]}")
    effects.say(f"RabbitMQ forgets rabbit@{effects.host}")


def leave(effects: Effects) -> None:
    """Have the host's raft members leave in good order: the cluster counts one less from then on.

    Galera's and RabbitMQ's leave when they stop.

    :raises ScsError: one does not get away
    """
    for cluster in effects.view.clusters:
        if cluster.name not in observe.OVN or effects.host not in cluster.alive:
            continue
        effects.execute(effects.host, observe.raft(cluster.name, "leave"))
        deadline = time.monotonic() + 60
        while True:
            mine = parse.raft(effects.execute(effects.host, observe.raft(cluster.name, "status")).output)
            if mine is None or mine.status == "left cluster":
                break
            if time.monotonic() > deadline:
                raise ScsError(f"{cluster.name}: the member on {effects.host} does not leave: {mine.status}")
            time.sleep(1)
        effects.say(f"{cluster.name}: the member on {effects.host} left")


def missing(view: View, host: str) -> list[str]:
    """What a host's membership lacks; pure."""
    result = []
    if why := view.hosts[host].unreachable:
        return [f"{host} is unreachable: {why}"]
    for cluster in view.clusters:
        if host not in cluster.wanted:
            continue
        if host not in cluster.alive:
            result.append(f"{cluster.name}: not a working member on {host}")
        if strange := sorted(set(cluster.members) - set(cluster.wanted)):
            result.append(f"{cluster.name}: unknown members {', '.join(strange)}")
    result += [
        f"HAProxy of {s.balancer}: {s.backend} is down"
        for s in view.servers
        if s.host == host and not s.up and s.state != "maint"
    ]
    compute = view.computes.get(host)
    if "compute" in view.hosts[host].groups:
        if view.no_compute:
            result.append(f"Nova does not answer: {view.no_compute}")
        elif compute is None or not compute.up:
            result.append("its compute service is not up")
    return result


def verify(effects: Effects) -> None:
    """Wait until the host's containers are healthy and its members whole, quorum queues included.

    :raises ScsError: something is still missing at the end
    """
    deadline = time.monotonic() + WHOLE
    told = time.monotonic()
    while True:
        lacking = missing(observe.observe(effects.region, guests_of=()), effects.host) or _containers(effects)
        lacking = lacking or _queues(effects)
        if not lacking:
            return
        if time.monotonic() > deadline:
            raise ScsError(f"{effects.host}: {'; '.join(lacking[:5])}", f"scs status --host {effects.host}")
        if time.monotonic() - told > QUIET:
            effects.say(f"waiting: {'; '.join(lacking[:3])}")
            told = time.monotonic()
        time.sleep(2)


def _containers(effects: Effects) -> list[str]:
    services = frozenset(effects.region.catalog.services)
    states = observe_hosts(effects.region, services, states=True).states
    return [
        f"{s['container']} is {s['health'] or s['state']}"
        for s in states
        if s["host"] == effects.host and (s["state"] != "running" or s["health"] not in ("", "healthy"))
    ]


def _queues(effects: Effects) -> list[str]:
    """Quorum queues that have no replica there, though they could."""
    if effects.host not in {h for c in effects.view.clusters if c.name == "RabbitMQ" for h in c.wanted}:
        return []
    with observe.broker(effects.region) as session:
        running = {n for n, up in session.nodes().items() if up}
        node = f"rabbit@{effects.host}"
        short = [q for q, (members, _) in session.quorum_queues().items() if node not in members and members != running]
    return [f"{len(short)} quorum queues have no replica on {effects.host} yet"] if short else []
