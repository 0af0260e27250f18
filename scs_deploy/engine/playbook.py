# SPDX-License-Identifier: Apache-2.0
"""A plan as a playbook: only the hosts, services and phases that change, one task a host and phase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import yaml

from scs_deploy.plan.change import REGION, Change, Kind
from scs_deploy.plan.ordering import Order
from scs_deploy.plan.region import Plan
from scs_deploy.plan.rolling import SESSIONS, STOPPING, UP, Rolling, ordered
from scs_deploy.spec.service import Phase

Play = dict[str, Any]

AROUND = ("gate", "drain", "use", "alive")
"""First words of plays that change nothing themselves: what is done around a change."""

ACTIONS = {
    k: k.value for k in (Kind.CREATE, Kind.REPLACE, Kind.RESTART, Kind.RELOAD, Kind.START, Kind.STOP, Kind.REMOVE)
}


def plays(
    plan: Plan, waves: Mapping[str, int], rolling: Rolling = Rolling(), order: Order = Order()
) -> list[Play]:  # fmt: skip
    """The plays of a plan, in its order.

    :param waves: service: wave; changes of one wave, phase and stage share a play
    :param rolling: what must be out of the load balancers, and asked, before it stops
    :param order: what of a service comes before what
    """

    def step(change: Change) -> tuple[int, Phase, int]:
        return (order.wave(change, waves), change.phase, order.stage(change))

    result = []
    for (_, phase, _), group in groupby(plan.changes, key=step):
        changes = list(group)
        groups = _alike(changes)
        rolls = phase is Phase.ROLL or any(c.kind in STOPPING for c in changes)
        if rolls:
            # what is missing comes first: members that stop need the others
            groups.sort(key=lambda g: any(c.kind in STOPPING for c in g[1]))
        for hosts, own in groups:
            if rolls and hosts != [REGION]:
                result += _roll(Phase.ROLL, ordered(hosts, own, plan.in_use), own, rolling.without(plan.drained))
            else:
                result.append(_play(phase, hosts, own, rolling.pulls))
        result += _records(phase, changes)
    return result


def text(play_list: Iterable[Play]) -> str:
    """The playbook as YAML, for people."""
    return "---\n" + yaml.safe_dump(list(play_list), sort_keys=False, width=120, allow_unicode=True)


def _alike(changes: list[Change]) -> list[tuple[list[str], list[Change]]]:
    """Hosts with the same changes together, the region's changes first; (hosts, one host's changes)."""
    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)
    result: dict[tuple[tuple[str, str], ...], tuple[list[str], list[Change]]] = {}
    for host in sorted(by_host, key=lambda h: (h != REGION, h)):
        own = by_host[host]
        key = (*(((c.kind, c.subject)) for c in own), ("region", "") if host == REGION else ("host", ""))
        result.setdefault(key, ([], own))[0].append(host)
    return list(result.values())


def _roll(phase: Phase, hosts: list[str], changes: list[Change], rolling: Rolling) -> list[Play]:
    """Hosts side by side where nothing stops; else each one asked, drained, changed and used again before the next."""
    if not any(c.kind in STOPPING for c in changes):
        return [_play(phase, hosts, changes)]
    gates = rolling.gates(changes)
    if not gates and not any(rolling.drains(h, changes) for h in hosts):
        size = rolling.at_once(changes)
        if not rolling.alive(hosts, changes):
            return [_play(phase, hosts, changes) | {"serial": size}]
        batches = [hosts[i : i + size] for i in range(0, len(hosts), size)]
        return [p for b in batches for p in (_play(phase, b, changes) | {"serial": size}, *_alive(b, changes, rolling))]
    result: list[Play] = []
    services = _services(changes)
    for host in hosts:
        drains = rolling.drains(host, changes)
        if gates:
            actions = [{"action": "gate", "container": name} for name in gates]
            task = {"name": f"Ask {_list(list(gates))}", "scs.core.containers": {"actions": actions}}
            result.append(_base(f"gate: {services}", [host], [task]))
        own = _play(phase, [host], changes)
        for task in own["tasks"]:
            for action in task.get("scs.core.containers", {}).get("actions", ()):
                if drains or action["container"] in rolling.undrained:
                    action["leave"] = True
        if not drains:
            result.append(own | (_together() if gates else {}))
            result += _alive([host], changes, rolling)
            continue
        where, names = list(rolling.balancers), _list([b.name for b in drains])
        drain = {
            "server": host,
            "states": {b.name: "drain" for b in drains},
            "move": [b.name for b in drains if b.single],
            "quiet": [b.name for b in drains if b.http],
            "wait": SESSIONS,
            "outlast": False,
        }
        use: dict[str, Any] = {"server": host, "states": {b.name: "ready" for b in drains}}
        if any(c.kind in (Kind.REPLACE, Kind.RESTART) for c in changes):
            use |= {"up": [b.name for b in drains if not b.copies], "wait": UP}
        tasks = [{"name": f"Drain {names} of {host}", "scs.core.balancer": drain}]
        result.append(_base(f"drain: {services}", where, tasks) | (_together() if gates else {}))
        result.append(own | _together())
        tasks = [{"name": f"Use {names} of {host}", "scs.core.balancer": use}]
        result.append(_base(f"use: {services}", where, tasks) | _together())
        result += _alive([host], changes, rolling)
    return result


def take_back(play_list: Iterable[Play], drained: str, without: Iterable[str] = ()) -> list[Play]:
    """After a failure: what the load balancers use again, whose own checks decide whether it works.

    :param drained: name of the last drain's task; '' when what it took out was used again
    :param without: hosts that cannot be reached
    """
    gone = set(without)
    for play in play_list:
        task = play["tasks"][0]
        if not drained or task["name"] != drained or "scs.core.balancer" not in task:
            continue
        arguments = task["scs.core.balancer"]
        states = dict.fromkeys(arguments["states"], "ready")
        use = {
            "name": f"Use {_list(list(states))} of {arguments['server']} again",
            "scs.core.balancer": {"server": arguments["server"], "states": states},
        }
        hosts = [h for h in play["hosts"].split(",") if h not in gone]
        return [_base("use: after a failure", hosts, [use])] if hosts else []
    return []


def _alive(hosts: list[str], changes: list[Change], rolling: Rolling) -> list[Play]:
    """A play in which Nova and Neutron are asked for the processes of these hosts, before others are changed."""
    agents = rolling.alive(hosts, changes)
    if not agents:
        return []
    task = {
        "name": f"Hear of {_list(list(dict.fromkeys(a['binary'] for a in agents)))}",
        "scs.core.agents": {"agents": agents},
    }
    return [_base(f"alive: {_services(changes)}", ["localhost"], [task]) | {"connection": "local"}]


def _together() -> Play:
    """No pause between the play before and this one: a server is out of the load balancers."""
    return {"vars": {"scs_together": True}}


def _base(name: str, hosts: list[str], tasks: list[dict[str, Any]]) -> Play:
    return {"name": name, "hosts": ",".join(hosts), "gather_facts": False, "any_errors_fatal": True, "tasks": tasks}


def _services(changes: list[Change]) -> str:
    return ", ".join(dict.fromkeys(c.service or "leftovers" for c in changes))


def _play(phase: Phase, hosts: list[str], changes: list[Change], pulls: int = 0) -> Play:
    """:param pulls: hosts that pull images at once; 0: all"""
    play: Play = {
        "name": f"{phase.value}: {_services(changes)}",
        "hosts": "localhost" if hosts == [REGION] else ",".join(hosts),
        "gather_facts": False,
    }
    if hosts == [REGION]:
        play["connection"] = "local"
    elif any(c.kind in (Kind.REPLACE, Kind.RESTART) for c in changes):
        # one host after the other, and none after a failed one
        play |= {"serial": 1, "max_fail_percentage": 0}
    play["any_errors_fatal"] = True
    play["tasks"] = _tasks(changes)
    if phase is Phase.PULL and 0 < pulls < len(hosts):
        for task in play["tasks"]:
            task["throttle"] = pulls
    return play


def _records(phase: Phase, changes: list[Change]) -> list[Play]:
    """A play in which the other hosts of a cluster record its jobs' success."""
    jobs: dict[tuple[str, ...], list[str]] = {}
    for change in changes:
        if change.witnesses:
            jobs.setdefault(change.witnesses, []).append(change.subject)
    return [
        {
            "name": f"{phase.value}: records",
            "hosts": ",".join(hosts),
            "gather_facts": False,
            "any_errors_fatal": True,
            "tasks": [{"name": f"Record {_list(names)}", "scs.core.jobs": {"record": names}}],
        }
        for hosts, names in jobs.items()
    ]


def _tasks(changes: list[Change]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    pulls = [c.subject for c in changes if c.kind is Kind.PULL]
    if pulls:
        tasks.append({"name": f"Pull {_count(pulls, 'image')}", "scs.core.images": {"pull": pulls}})
    files = [c for c in changes if c.kind is Kind.FILE]
    if files:
        gone = [c.subject for c in files if c.reason == "no container reads it any more"]
        write = [c.subject for c in files if c.subject not in gone]
        tasks.append(
            {"name": f"Write {_count([*write, *gone], 'file')}", "scs.core.files": {"write": write, "remove": gone}}
        )
    for kind, what in ((Kind.DATABASE, "Databases"), (Kind.ACCOUNT, "Accounts"), (Kind.CATALOGUE, "Catalogue")):
        subjects = [c.subject for c in changes if c.kind is kind]
        if subjects:
            tasks.append(
                {"name": f"{what}: {_list(subjects)}", "scs.core.region": {"kind": kind.value, "subjects": subjects}}
            )
    forced: dict[str, list[str]] = {}
    for change in changes:
        if change.kind is Kind.UNDRAIN:
            backend, _, server = change.subject.partition("/")
            forced.setdefault(server, []).append(backend)
    tasks += [
        {
            "name": f"Use {_list(backends)} of {server}",
            "scs.core.balancer": {"server": server, "states": dict.fromkeys(backends, "ready")},
        }
        for server, backends in forced.items()
    ]
    rolls = [{"action": ACTIONS[c.kind], "container": c.subject} for c in changes if c.kind in ACTIONS]
    if rolls:
        verbs = "; ".join(
            f"{verb} {_list([r['container'] for r in rolls if r['action'] == verb])}"
            for verb in dict.fromkeys(r["action"] for r in rolls)
        )
        tasks.append({"name": verbs[:1].upper() + verbs[1:], "scs.core.containers": {"actions": rolls}})
    jobs = [c.subject for c in changes if c.kind is Kind.JOB]
    if jobs:
        # all by name: a rollback reads here what ran
        tasks.append({"name": f"Run {', '.join(jobs)}", "scs.core.jobs": {"jobs": jobs}})
    records = [c.subject for c in changes if c.kind is Kind.RECORD]
    if records:
        tasks.append({"name": f"Record {', '.join(records)}", "scs.core.jobs": {"record": records}})
    return tasks


def _list(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"
