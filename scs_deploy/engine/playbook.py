# SPDX-License-Identifier: Apache-2.0
"""Turns a plan into plays for the hosts, services and phases that change, with one task per host and phase.

Plays are typed: code reads their fields. Titles are only for people.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Any

import yaml
from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.plan.change import REGION, Change, Kind, shared_objects
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.region import Plan
from scs_deploy.plan.rolling import STOPPING, UP, Backend, Rolling, ordered
from scs_deploy.spec.job import Phase


class PlayKind(StrEnum):
    """What a play is for: a phase of the plan, or what is done around a change, which changes nothing itself."""

    PULL = Phase.PULL.value
    CONFIG = Phase.CONFIG.value
    DATABASE = Phase.DATABASE.value
    MIGRATE = Phase.MIGRATE.value
    ROLL = Phase.ROLL.value
    REGISTER = Phase.REGISTER.value
    FINISH = Phase.FINISH.value
    VERIFY = Phase.VERIFY.value
    GATE = "gate"
    """checks that clusters can lose a member"""
    DRAIN = "drain"
    """drains a host in the load balancers"""
    USE = "use"
    """enables it in the load balancers again"""
    ALIVE = "alive"
    """waits until processes report to Nova and Neutron again"""
    RECORDS = "records"
    """has the other hosts of a cluster record its jobs' success"""


class Module(StrEnum):
    """Modules that carry out a plan."""

    AGENTS = "scs.core.agents"
    BALANCER = "scs.core.balancer"
    CONTAINERS = "scs.core.containers"
    FILES = "scs.core.files"
    IMAGES = "scs.core.images"
    JOBS = "scs.core.jobs"
    SHARED = "scs.core.shared"


class Task(Model):
    """One call of a module, on every host of its play."""

    title: str
    module: str = Field(description="e.g. scs.core.files")
    arguments: dict[str, Any]
    changes: tuple[Change, ...] = Field(default=(), description="that it makes on each host; the first host's")
    throttle: int = Field(default=0, description="hosts at once; 0: all of the play's")

    @property
    def jobs(self) -> tuple[str, ...]:
        """Jobs that it runs."""
        return tuple(c.subject for c in self.changes if c.kind is Kind.JOB)

    def render(self) -> dict[str, Any]:
        """As data for Ansible."""
        throttle = {"throttle": self.throttle} if self.throttle else {}
        return {"name": self.title, str(self.module): self.arguments, **throttle}


class Drain(Model):
    """Servers that a play takes out of the load balancers."""

    server: str = Field(description="their name, which is their host's")
    backends: tuple[str, ...]


class Play(Model):
    """Tasks for some hosts."""

    kind: PlayKind
    title: str
    hosts: tuple[str, ...] = Field(description="of the inventory; empty: the manager itself")
    tasks: tuple[Task, ...]
    group: str = Field(default="", description="stands with its steps in the record; empty: its kind")
    serial: int = Field(default=0, description="hosts at once; 0: all")
    careful: bool = Field(default=False, description="no further host once one has failed")
    together: bool = Field(default=False, description="no pause before it: a server is out of the load balancers")
    drain: Drain | None = Field(default=None, description="what it takes out")

    @property
    def label(self) -> str:
        """What its steps belong to."""
        return self.group or self.kind.value

    def render(self) -> dict[str, Any]:
        """As Ansible reads it."""
        play: dict[str, Any] = {
            "name": self.title,
            "hosts": ",".join(self.hosts) or "localhost",
            "gather_facts": False,
        }
        if not self.hosts:
            play["connection"] = "local"
        if self.serial:
            play["serial"] = self.serial
        if self.careful:
            play["max_fail_percentage"] = 0
        play |= {"any_errors_fatal": True, "tasks": [t.render() for t in self.tasks]}
        if self.together:
            play["vars"] = {"scs_together": True}
        return play


def plays(
    plan: Plan, waves: Mapping[str, int], rolling: Rolling = Rolling(), ordering: Ordering = Ordering()
) -> list[Play]:  # fmt: skip
    """The plays of a plan, in its order.

    :param waves: service: wave; changes of one wave, phase and stage share a play
    :param rolling: what must be out of the load balancers, and asked, before it stops
    :param ordering: what of a service comes before what
    """
    ordering = ordering.given(plan.changes)

    rolling = rolling.out_of_reach(plan.absent)

    def step(change: Change) -> tuple[int, Phase, int]:
        return (ordering.wave(change, waves), change.phase, ordering.stage(change))

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
                result += _roll(ordered(hosts, own, plan.in_use), own, rolling.without(plan.out_of_use))
            else:
                result.append(_play(phase, hosts, own, pulls=rolling.pulls))
        result += _records(phase, changes)
    return result


def render(play_list: Iterable[Play]) -> list[dict[str, Any]]:
    """Plays as Ansible reads them."""
    return [p.render() for p in play_list]


def text(play_list: Iterable[Play]) -> str:
    """The playbook as YAML, for people."""
    return "---\n" + yaml.safe_dump(render(play_list), sort_keys=False, width=120, allow_unicode=True)


def reenable(drained: Play | None, without: Collection[str] = ()) -> list[Play]:
    """After a failure: plays that enable drained servers again. Health checks decide whether they get requests.

    :param drained: the play that drained servers which are not yet enabled; None: all are enabled
    :param without: unreachable hosts
    """
    if drained is None or drained.drain is None:
        return []
    hosts = tuple(h for h in drained.hosts if h not in without)
    server, backends = drained.drain.server, drained.drain.backends
    use = Task(
        title=f"Enable {_servers(backends, server)} in HAProxy again",
        module=Module.BALANCER,
        arguments=_ready(server, backends),
    )
    return [Play(kind=PlayKind.USE, title="use: after a failure", hosts=hosts, tasks=(use,))] if hosts else []


def _alike(changes: list[Change]) -> list[tuple[list[str], list[Change]]]:
    """Hosts with the same changes together, the region's changes first; (hosts, one host's changes)."""
    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)
    result: dict[tuple[object, ...], tuple[list[str], list[Change]]] = {}
    for host in sorted(by_host, key=lambda h: (h != REGION, h)):
        own = by_host[host]
        key = (host == REGION, *((c.kind, c.subject) for c in own))
        result.setdefault(key, ([], own))[0].append(host)
    return list(result.values())


def _roll(hosts: list[str], changes: list[Change], rolling: Rolling) -> list[Play]:
    """Hosts side by side where nothing stops; else each one asked, drained, changed and used again before the next."""
    if not any(c.kind in STOPPING for c in changes):
        return [_play(Phase.ROLL, hosts, changes)]
    gates = rolling.gates(changes)
    if not gates and not any(rolling.drains(h, changes) for h in hosts):
        size = rolling.batch_size(changes)
        batches = [hosts[i : i + size] for i in range(0, len(hosts), size)]
        if not rolling.agents_to_await(hosts, changes):
            batches = [hosts]
        return [
            p
            for batch in batches
            for p in (_play(Phase.ROLL, batch, changes, serial=size), *_alive(batch, changes, rolling))
        ]
    result: list[Play] = []
    for host in hosts:
        for part in rolling.parts(changes):
            result += _member(host, part, rolling)
    return result


def _member(host: str, changes: list[Change], rolling: Rolling) -> list[Play]:
    """What stops on one host: asked, drained, changed and used again."""
    gates, drains = rolling.gates(changes), rolling.drains(host, changes)
    leaving = frozenset(c.subject for c in changes if drains or c.subject in rolling.undrained)
    own = _play(Phase.ROLL, [host], changes, leaving=leaving, together=bool(drains or gates))
    before, after = _around(host, changes, drains, rolling, asked=bool(gates)) if drains else ([], [])
    return [*_gate(host, gates, changes), *before, own, *after, *_alive([host], changes, rolling)]


def _gate(host: str, gates: Sequence[str], changes: list[Change]) -> list[Play]:
    """A play that checks that clusters can lose the host's members."""
    if not gates:
        return []
    actions = [{"action": "gate", "container": name} for name in gates]
    task = Task(
        title=f"Check that the cluster can lose {_list(gates)}",
        module=Module.CONTAINERS,
        arguments={"actions": actions},
    )
    return [Play(kind=PlayKind.GATE, title=f"gate: {_services(changes)}", hosts=(host,), tasks=(task,))]


def _around(
    host: str, changes: list[Change], drains: Sequence[Backend], rolling: Rolling, asked: bool
) -> tuple[list[Play], list[Play]]:
    """Plays that drain a host in the load balancers, and that enable it again.

    :param asked: its members have passed their gates: no pause after that
    """
    backends, services = tuple(b.name for b in drains), _services(changes)
    drain = {
        "server": host,
        "states": dict.fromkeys(backends, "drain"),
        "move": [b.name for b in drains if b.single],
        "quiet": [b.name for b in drains if b.http],
        "wait": max(b.drain for b in drains),
        "outlast": False,
    }
    use = _ready(host, backends)
    if any(c.kind in (Kind.REPLACE, Kind.RESTART) for c in changes):
        use |= {"up": [b.name for b in drains if not b.copies], "wait": UP}
    out = Task(title=f"Drain {_servers(backends, host)} in HAProxy", module=Module.BALANCER, arguments=drain)
    back = Task(title=f"Enable {_servers(backends, host)} in HAProxy", module=Module.BALANCER, arguments=use)
    before = Play(
        kind=PlayKind.DRAIN, title=f"drain: {services}", hosts=rolling.balancers, tasks=(out,), together=asked,
        drain=Drain(server=host, backends=backends),
    )  # fmt: skip
    after = Play(kind=PlayKind.USE, title=f"use: {services}", hosts=rolling.balancers, tasks=(back,), together=True)
    return [before], [after]


def _alive(hosts: list[str], changes: list[Change], rolling: Rolling) -> list[Play]:
    """A play that waits until processes of these hosts report to Nova and Neutron, before other hosts change."""
    agents = rolling.agents_to_await(hosts, changes)
    if not agents:
        return []
    names = list(dict.fromkeys(a["binary"] for a in agents))
    task = Task(title=f"Wait for {_list(names)} to report", module=Module.AGENTS, arguments={"agents": agents})
    return [Play(kind=PlayKind.ALIVE, title=f"alive: {_services(changes)}", hosts=(), tasks=(task,))]


def _play(
    phase: Phase, hosts: list[str], changes: list[Change], *, pulls: int = 0, serial: int = 0,
    leaving: Collection[str] = (), together: bool = False,
) -> Play:  # fmt: skip
    """The play of a phase.

    :param pulls: hosts that pull images at once; 0: all
    :param serial: hosts that change at once; 0: one where a container stops, else all
    :param leaving: containers that have something to do before they stop
    """
    region = hosts == [REGION]
    # one host after the other, and none after a failed one
    careful = not region and any(c.kind in (Kind.REPLACE, Kind.RESTART) for c in changes)
    tasks = _tasks(changes, leaving)
    if phase is Phase.PULL and 0 < pulls < len(hosts):
        tasks = [t.model_copy(update={"throttle": pulls}) for t in tasks]
    return Play(
        kind=PlayKind(phase.value), title=f"{phase.value}: {_services(changes)}", hosts=() if region else tuple(hosts),
        tasks=tuple(tasks), serial=serial or int(careful), careful=careful, together=together,
    )  # fmt: skip


def _records(phase: Phase, changes: list[Change]) -> list[Play]:
    """Plays that record the success of a cluster's jobs on its other hosts."""
    jobs: dict[tuple[str, ...], list[str]] = {}
    for change in changes:
        if change.witnesses:
            jobs.setdefault(change.witnesses, []).append(change.subject)
    return [
        Play(
            kind=PlayKind.RECORDS, title=f"{phase.value}: records", hosts=hosts, group=phase.value,
            tasks=(Task(title=f"Record {_list(names)}", module=Module.JOBS, arguments={"record": names}),),
        )
        for hosts, names in jobs.items()
    ]  # fmt: skip


SHARED = {
    Kind.POOL: "Pools", Kind.DATABASE: "Databases", Kind.ACCOUNT: "Accounts", Kind.CATALOGUE: "Catalogue",
    Kind.CLOUD: "Cloud",
}  # fmt: skip
"""Kinds of what hosts share, in the order of a phase: clients name pools."""


def _tasks(changes: list[Change], leaving: Collection[str]) -> list[Task]:
    """The tasks of a phase, for one host."""

    def of(*kinds: Kind) -> tuple[Change, ...]:
        return tuple(c for c in changes if c.kind in kinds)

    result = []
    arguments: dict[str, Any]
    if pulls := of(Kind.PULL):
        names = _names(pulls)
        result.append(_task(f"Pull {counted(len(names), 'image')}", Module.IMAGES, {"pull": names}, pulls))
    if files := of(Kind.FILE, Kind.DELETE):
        arguments = {"write": _names(of(Kind.FILE)), "remove": _names(of(Kind.DELETE))}
        result.append(_task(f"Write {counted(len(files), 'file')}", Module.FILES, arguments, files))
    for kind, what in SHARED.items():
        if own := of(kind):
            servers = list(dict.fromkeys(s.server for s in shared_objects(own)))
            arguments = {"kind": kind.value, "servers": servers, "subjects": _names(own)}
            result.append(_task(f"{what}: {_list(_names(own))}", Module.SHARED, arguments, own))
    result += _undrains(of(Kind.UNDRAIN))
    if rolls := of(*ACTIONS):
        result.append(_containers(rolls, leaving))
    if jobs := of(Kind.JOB):
        names = _names(jobs)
        result.append(_task(f"Run {', '.join(names)}", Module.JOBS, {"jobs": names}, jobs))
    if records := of(Kind.RECORD):
        names = _names(records)
        result.append(_task(f"Record {', '.join(names)}", Module.JOBS, {"record": names}, records))
    return result


ACTIONS = (Kind.CREATE, Kind.REPLACE, Kind.RESTART, Kind.RELOAD, Kind.START, Kind.STOP, Kind.REMOVE)
"""Kinds that are actions on containers, by the same name."""


def _containers(changes: tuple[Change, ...], leaving: Collection[str]) -> Task:
    actions: list[dict[str, Any]] = [{"action": c.kind.value, "container": c.subject} for c in changes]
    for action in actions:
        if action["container"] in leaving:
            action["leave"] = True
    verbs = "; ".join(
        f"{kind.value} {_list([c.subject for c in changes if c.kind is kind])}"
        for kind in dict.fromkeys(c.kind for c in changes)
    )
    return _task(verbs[:1].upper() + verbs[1:], Module.CONTAINERS, {"actions": actions}, changes)


def _undrains(changes: Iterable[Change]) -> list[Task]:
    """A task for each host whose servers the load balancers use again."""
    servers: dict[str, list[Change]] = {}
    for change in changes:
        if change.balanced:
            servers.setdefault(change.balanced.server, []).append(change)
    result = []
    for server, own in servers.items():
        backends = [c.balanced.backend for c in own if c.balanced]
        title = f"Enable {_servers(backends, server)} in HAProxy"
        result.append(_task(title, Module.BALANCER, _ready(server, backends), tuple(own)))
    return result


def _task(title: str, module: str, arguments: dict[str, Any], changes: tuple[Change, ...]) -> Task:
    return Task(title=title, module=module, arguments=arguments, changes=changes)


def _ready(server: str, backends: Iterable[str]) -> dict[str, Any]:
    """Arguments of the balancer module: use these servers."""
    return {"server": server, "states": dict.fromkeys(backends, "ready")}


def _services(changes: list[Change]) -> str:
    return ", ".join(dict.fromkeys(c.service or "leftovers" for c in changes))


def _names(changes: Iterable[Change]) -> list[str]:
    return [c.subject for c in changes]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def _servers(backends: Iterable[str], host: str) -> str:
    return _list([f"{backend}/{host}" for backend in backends])
