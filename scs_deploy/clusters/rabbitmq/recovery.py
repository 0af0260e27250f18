# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ: finds the members that form the cluster, and the steps that bring the others back. Pure.

Sources: RabbitMQ documentation, "Clustering Guide" (restarting, forgetting and force-booting nodes), "Clustering and
Network Partitions" (pause_minority), "Quorum Queues" (replica management).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from enum import StrEnum

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import Recovery, RecoveryOptions, RecoveryStep, known, names
from scs_deploy.engine.remote import ContainerState

SERVICE = "rabbitmq"


class Data(StrEnum):
    """What a member's data directory holds."""

    PRESENT = "present"
    EMPTY = "empty"
    DAMAGED = "damaged"
    """lacks files that a node needs to know its cluster"""
    UNKNOWN = "unknown"


class Member(Model):
    """The observed state of one member."""

    host: str
    container: ContainerState
    why: str = ""
    up: bool = False
    """the broker responds and is part of a cluster"""
    sees: frozenset[str] = frozenset()
    """hosts of the members that it sees running, including itself"""
    cluster: frozenset[str] = frozenset()
    """hosts of all members of its cluster, as it knows them"""
    partitions: bool = False
    alarms: tuple[str, ...] = ()
    data: Data = Data.UNKNOWN
    last_seen: frozenset[str] = frozenset()
    """hosts of the members that ran when it stopped; it waits for these"""


class Queues(Model):
    """The quorum queues of the cluster."""

    total: int = 0
    leaderless: tuple[str, ...] = ()
    """without a majority of their replicas"""
    missing: dict[str, int] = Field(default_factory=dict)
    """host: queues that lack a replica there"""


class RabbitmqOptions(RecoveryOptions):
    """Repair the message broker: start members, rejoin lost ones, restore the replicas of queues."""

    force_boot: str = Field(
        default="",
        description="Boot from this member's data; what only others knew is lost.",
        json_schema_extra={"metavar": "HOST"},
    )
    reset: bool = Field(default=False, description="New, empty cluster; run `scs apply` afterwards for the accounts.")

    def check(self) -> None:
        """Refuse a reset together with --force-boot."""
        if self.reset and self.force_boot:
            raise RefusedError("--reset gives up the data that --force-boot would boot from", "choose one")


def host_of(node: str) -> str:
    """`rabbit@ha-1`: ha-1."""
    return node.partition("@")[2]


def nodes_in(term: str) -> frozenset[str]:
    """Hosts of all node names in an Erlang term."""
    return frozenset(re.findall(r"rabbit@([A-Za-z0-9_.-]+)", term))


def parse_status(text: str) -> dict[str, object]:
    """`rabbitmqctl cluster_status --formatter json` as fields of a Member."""
    data = json.loads(text[text.index("{") :])
    alarms = tuple(
        sorted(f"{a.get('resource', a.get('type', '?'))} on {host_of(a.get('node', ''))}" for a in data["alarms"])
    )
    return {
        "up": True,
        "sees": frozenset(map(host_of, data["running_nodes"])),
        "cluster": frozenset(map(host_of, data["disk_nodes"] + data["ram_nodes"])),
        "partitions": bool(data["partitions"]),
        "alarms": alarms,
    }


def sees(text: str) -> frozenset[str]:
    """Hosts that a `cluster_status` shows running."""
    return frozenset(map(host_of, json.loads(text[text.index("{") :])["running_nodes"]))


def parse_queues(documents: Iterable[tuple[str, str]], hosts: Collection[str], size: int) -> Queues:
    """Quorum queues from `list_queues --formatter json` of each virtual host.

    :param documents: (virtual host, JSON)
    :param hosts: members that run
    :param size: replicas that each queue should have
    """
    total, leaderless, missing = 0, [], dict.fromkeys(sorted(hosts), 0)
    for vhost, text in documents:
        for queue in json.loads(text):
            if queue["type"] != "quorum":
                continue
            total += 1
            members = {host_of(n) for n in queue["members"] or ()}
            if not queue["leader"] or len(queue["online"] or ()) * 2 <= len(members):
                leaderless.append(f"{vhost}: {queue['name']}")
            elif len(members) < size:
                for host in set(hosts) - members:
                    missing[host] += 1
    return Queues(total=total, leaderless=tuple(leaderless), missing={h: n for h, n in missing.items() if n})


def settling(members: Collection[Member]) -> str:
    """Brokers that may still be starting."""
    starting = [m.host for m in members if m.container is ContainerState.RUNNING and not m.up]
    return f"waiting for rabbitmq on {names(starting)} to answer" if starting else ""


def decide(members: Collection[Member], queues: Queues, options: RabbitmqOptions) -> Recovery:
    """Decide how to recover the cluster.

    :raises RefusedError: the state of a lost member would be given up, and the operator did not ask for that
    """
    known(SERVICE, [m.host for m in members], (*options.without, *filter(None, [options.force_boot])))
    ordered = sorted(members, key=lambda m: m.host)
    table = tuple(row(m) for m in ordered)
    rest = [m for m in ordered if m.host not in options.without]
    reachable = [m for m in rest if m.container is not ContainerState.UNREACHABLE]
    if not reachable:
        raise RefusedError("no member of rabbitmq is reachable", "check the power and network of its hosts")
    if options.reset:
        return _reset(rest, reachable, table)
    up = [m for m in reachable if m.up]
    if up and not (options.force_boot and _divided(up)):
        if options.force_boot:
            raise RefusedError(f"rabbitmq is running on {names(m.host for m in up)}", "leave --force-boot out")
        return _beside(_keepers(up, len(members)), reachable, ordered, table, queues)
    return _boot(rest, reachable, table, options)


def row(m: Member) -> dict[str, str]:
    """A line of the table."""
    return {
        "host": m.host,
        "container": m.container.value,
        "state": ("up" if m.up else m.why) or ("waiting" if m.container is ContainerState.RUNNING else ""),
        "sees_running": " ".join(sorted(m.sees)),
        "cluster": " ".join(sorted(m.cluster)),
        "data": m.data.value,
        "last_saw": " ".join(sorted(m.last_seen)),
        "alarms": ", ".join(m.alarms),
    }


def _divided(up: Collection[Member]) -> bool:
    return len({m.sees for m in up}) > 1


def _keepers(up: list[Member], size: int) -> list[Member]:
    """The members whose cluster is kept: the only cluster, or the largest.

    :raises RefusedError: there are several clusters, and none has a majority
    """
    views: dict[frozenset[str], list[Member]] = {}
    for m in up:
        views.setdefault(m.sees, []).append(m)
    best = max(views.values(), key=lambda own: (len(own), own[0].host))
    if len(views) > 1 and len(best) * 2 <= size:
        said = "; ".join(f"{names(m.host for m in own)} see {names(seen)}" for seen, own in views.items())
        raise RefusedError(
            f"rabbitmq is partitioned, and no partition has a majority: {said}",
            "name the member whose state to keep with --force-boot HOST, or use --reset",
        )
    return best


def _beside(
    keepers: list[Member],
    reachable: list[Member],
    members: Collection[Member],
    table: tuple[dict[str, str], ...],
    queues: Queues,
) -> Recovery:
    """A cluster is running: the other members rejoin it, with their data or without."""
    here = frozenset(m.host for m in keepers)
    majority = len(here) * 2 > len(members)
    known_there = frozenset[str]().union(*(m.cluster for m in keepers))
    steps: list[RecoveryStep] = []
    for m in reachable:
        if m.host in here and m.data in (Data.PRESENT, Data.UNKNOWN):
            continue
        if m.host in here and not majority:
            # it still works from memory, and no majority could give it its data back
            continue
        stranger = m.host not in known_there or bool(m.cluster and not m.cluster & (here - {m.host}))
        stuck = m.container in (ContainerState.RUNNING, ContainerState.RESTARTING) and not m.up
        if m.data in (Data.EMPTY, Data.DAMAGED) or stranger or (stuck and majority):
            steps.append(_rejoin(m, here - {m.host}))
        else:
            steps.append(_start([m], here))
    warnings = [
        f"{m.host} is not reachable ({m.why}); it rejoins automatically when it is back"
        for m in members
        if m.container is ContainerState.UNREACHABLE
    ]
    warnings += [
        f"alarm: {a}; publishers are blocked until it clears" for a in sorted({a for m in keepers for a in m.alarms})
    ]
    if queues.leaderless:
        warnings.append(
            f"{len(queues.leaderless)} of {queues.total} quorum queues have no majority of replicas, first: "
            f"{queues.leaderless[0]}; if this persists, --reset makes services create new ones"
        )
    if not steps:
        steps = [
            RecoveryStep(
                action="grow",
                hosts=(keepers[0].host,),
                container=SERVICE,
                target=host,
                what=f"add the replica of {count} quorum queues that {host} lacks",
            )
            for host, count in sorted(queues.missing.items())
        ]
    summary = f"{names(here)} form the cluster, {queues.total} quorum queues"
    # queues that lack a replica are known only once all members are back
    partial = any(s.action == "rejoin" for s in steps)
    return Recovery(members=table, steps=tuple(steps), warnings=tuple(warnings), summary=summary, partial=partial)


def _boot(
    rest: list[Member], reachable: list[Member], table: tuple[dict[str, str], ...], options: RabbitmqOptions
) -> Recovery:
    """No member is running: members with data start together, then those without data join them."""
    holders = [m for m in reachable if m.data is Data.PRESENT]
    hosts = frozenset(m.host for m in holders)
    others = [m for m in reachable if m not in holders]
    lost = [m for m in rest if m.container is ContainerState.UNREACHABLE]
    steps: list[RecoveryStep] = []
    warnings: list[str] = []
    if options.force_boot:
        if options.force_boot not in hosts:
            raise RefusedError(
                f"{options.force_boot} has no data to boot from", f"members with data: {names(hosts) or 'none'}"
            )
        first = next(m for m in holders if m.host == options.force_boot)
        warnings.append(f"queues, accounts and messages that {first.host} did not know when it stopped will be lost")
        steps = [
            _stop([m for m in reachable if m.container is not ContainerState.ABSENT]),
            RecoveryStep(
                action="force_boot",
                hosts=(first.host,),
                container=SERVICE,
                create=first.container is ContainerState.ABSENT,
                what="boot from its data without waiting for the others",
            ),
        ]
        # a member that finds other members running takes over their state
        steps += [_start([m], frozenset({first.host})) for m in holders if m is not first]
    elif not holders:
        if lost:
            _refuse_lost(lost)
        first, *others = others
        warnings.append("no member has data: run `scs apply` afterwards to create the accounts again")
        steps = [_rejoin(first, frozenset())]
        hosts = frozenset({first.host})
    else:
        if not any(m.last_seen <= hosts for m in holders):
            longest = min(holders, key=lambda m: (len(m.last_seen), m.host)).host
            waits = sorted(frozenset[str]().union(*(m.last_seen for m in holders)) - hosts)
            raise RefusedError(
                f"{names(hosts)} would wait for {names(waits)}: stopped later, but without data or unreachable",
                f"bring it back; or give up its latest state with --force-boot {longest}; or use --reset",
            )
        steps = [_start(holders, hosts)]
    steps += [_rejoin(m, hosts) for m in others]
    return Recovery(
        members=table,
        steps=tuple(steps),
        warnings=tuple(warnings),
        summary="no member of rabbitmq is part of a cluster",
        partial=bool(hosts),
    )


def _reset(rest: list[Member], reachable: list[Member], table: tuple[dict[str, str], ...]) -> Recovery:
    """A new, empty cluster."""
    if lost := [m for m in rest if m.container is ContainerState.UNREACHABLE]:
        _refuse_lost(lost)
    first, *others = reachable
    present = [m for m in reachable if m.container is not ContainerState.ABSENT]
    steps = [*([_stop(present)] if present else []), _rejoin(first, frozenset())]
    steps += [_rejoin(m, frozenset({first.host})) for m in others]
    return Recovery(
        members=table,
        steps=tuple(steps),
        warnings=(
            "all queues, messages, virtual hosts and accounts will be deleted: requests in flight fail, and "
            "services do not work until `scs apply` has created the accounts again",
        ),
        summary="a new, empty cluster",
    )


def _refuse_lost(lost: list[Member]) -> None:
    raise RefusedError(
        f"could not reach {names(m.host for m in lost)} ({'; '.join(m.why for m in lost)}), "
        "which would return with the old state",
        "bring it back, or add " + " ".join(f"--without {m.host}" for m in lost),
    )


def _stop(members: list[Member]) -> RecoveryStep:
    return RecoveryStep(action="stop", hosts=tuple(m.host for m in members), container=SERVICE, what="stop rabbitmq")


def _start(members: list[Member], expected: Iterable[str]) -> RecoveryStep:
    """Start members with data at the same time, since each may wait for another."""
    target = ",".join(sorted({*expected, *(m.host for m in members)}))
    how = "start rabbitmq together" if len(members) > 1 else "start rabbitmq"
    return RecoveryStep(
        action="start",
        hosts=tuple(m.host for m in members),
        container=SERVICE,
        target=target,
        create=any(m.container is ContainerState.ABSENT for m in members),
        what=f"{how} and wait until it sees {names(target.split(','))}",
    )


def _rejoin(m: Member, expected: Iterable[str]) -> RecoveryStep:
    target = ",".join(sorted({*expected, m.host}))
    aside = "" if m.data is Data.EMPTY else "set its data aside, "
    where = f"join {names(expected)} as a new member" if expected else "start a new cluster"
    return RecoveryStep(
        action="rejoin",
        hosts=(m.host,),
        container=SERVICE,
        target=target,
        create=m.container is ContainerState.ABSENT,
        what=f"{aside}{where}",
    )
