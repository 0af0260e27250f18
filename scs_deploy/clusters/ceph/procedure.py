# SPDX-License-Identifier: Apache-2.0
"""Ceph's monitors: reads them, and carries out the steps of a recovery."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Recovery, RecoveryStep, await_members, running
from scs_deploy.clusters.ceph import data, recovery, scripts, view
from scs_deploy.clusters.ceph.commands import ceph, mon_status
from scs_deploy.clusters.ceph.recovery import CephOptions, Disks, Member, Store
from scs_deploy.engine.access import Access
from scs_deploy.engine.observe import observe_hosts
from scs_deploy.engine.remote import Answer, Command, ContainerState
from scs_deploy.region.ceph import MONITOR

START_SECONDS = 300.0
"""A monitor that joins copies the whole store of another one."""


@dataclass(frozen=True)
class Seen:
    """What `read` found."""

    members: tuple[Member, ...]
    disks: Disks


@dataclass
class CephProcedure:
    """The recovery of Ceph's monitors."""

    options: CephOptions
    service: str
    osds: Mapping[str, tuple[str, ...]]
    """host: containers of its OSDs"""
    drained: Callable[[Access], frozenset[str]] = lambda access: drained(access)
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
    new_keys: bool = False
    """whether keys of clients were lost"""

    def read(self, access: Access) -> Seen:
        """Every monitor and its store; hosts of OSDs only where it matters."""
        hosts = [h.name for h in access.region.hosts_of(self.service, MONITOR)]
        answers = access.run({h: [mon_status(h), _script(scripts.STORE, h)] for h in hosts}, together=True)
        members = tuple(
            Member(host=h, container=ContainerState.UNREACHABLE, why=answers.unreachable[h])
            if h in answers.unreachable
            else member(h, *answers.by_host[h])
            for h in hosts
        )
        serving = [m.host for m in members if m.serves]
        if not serving:
            return Seen(members, self._disks(access))
        try:
            ours = data.held(access, serving[0])[1]
        except ScsError:
            # it has yet to notice that the others are gone
            return Seen(tuple(map(recovery.without_quorum, members)), self._disks(access))
        left = recovery.leftovers(ours, self.drained(access)) if ours else ()
        return Seen(members, Disks(containers=dict(self.osds), leftover=left))

    def _disks(self, access: Access) -> Disks:
        """Hosts of OSDs, and whether they respond if that matters."""
        if not self.options.from_osds:
            return Disks(containers=dict(self.osds))
        looked = access.run({h: [Command(container=c[0], argv=("true",))] for h, c in self.osds.items()})
        return Disks(containers=dict(self.osds), unreachable=dict(looked.unreachable))

    def settling(self, members: Seen) -> str:
        """Monitors that are starting or electing."""
        return recovery.settling(members.members)

    def decide(self, members: Seen) -> Recovery:
        """See recovery.decide."""
        found = recovery.decide(members.members, members.disks, self.options)
        if self.new_keys:
            return found.model_copy(update={"warnings": (*found.warnings, recovery.APPLY)})
        return found

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step."""
        hosts, container = step.hosts, step.container
        if step.action == "stop":
            access.containers("stop", container, hosts)
        elif step.action == "begin":
            access.containers("start", container, hosts)
        elif step.action == "start":
            access.containers("create" if step.create else "restart", container, hosts)
            self._wait(access, hosts)
        elif step.action == "join":
            if not step.create:
                access.containers("stop", container, hosts)
            access.require({hosts[0]: [_script(scripts.ASIDE, hosts[0], self.stamp)]})
            self._start(access, step)
        elif step.action == "alone":
            access.require({hosts[0]: [_script(scripts.ALONE, hosts[0], self.stamp)]})
            self._start(access, step)
            self.options = self.options.model_copy(update={"source": ""})
        elif step.action == "forget":
            access.require({hosts[0]: [ceph("mon", "remove", step.target)]})
        elif step.action == "let_go":
            data.let_go(access, hosts[0], step.target)
        elif step.action == "collect":
            self._collect(access, step)
        elif step.action == "rebuild":
            self._fetch(access, step, MON_FOLDER)
            access.require({hosts[0]: [_script(scripts.REBUILD, hosts[0], self.stamp, timeout=1800)]})
            self._start(access, step)
            self.options = self.options.model_copy(update={"from_osds": False})
            self.new_keys = True
        elif step.action == "managers":
            self._managers(access, hosts)
        else:
            raise ScsError(f"ceph: no such step: {step.action}")

    def put_back(self, access: Access) -> None:
        """Start what was stopped."""
        for container in sorted({c for _, c in access.stopped}):
            access.containers("start", container, sorted(h for h, c in access.stopped if c == container))

    def _start(self, access: Access, step: RecoveryStep) -> None:
        access.containers("create" if step.create else "start", step.container, step.hosts)
        self._wait(access, step.hosts)

    def _collect(self, access: Access, step: RecoveryStep) -> None:
        """Have one OSD add what it knows to the store that the one before it made."""
        self._fetch(access, step, OSD_FOLDER)
        argv = ("sh", "-ec", scripts.COLLECT, "recover", OSD_FOLDER)
        access.require({step.hosts[0]: [Command(container=step.container, argv=argv, one_shot=True, timeout=3600)]})

    def _fetch(self, access: Access, step: RecoveryStep, folder: str) -> None:
        """Have the store that another container made, or an empty folder."""
        host = step.hosts[0]
        take = ("sh", "-ec", scripts.TAKE, "recover", folder)
        if not step.target:
            clear = Command(
                container=step.container, argv=("sh", "-ec", scripts.CLEAR, "recover", folder), one_shot=True
            )
            access.require({host: [clear]})
            return
        before, _, container = step.target.partition("/")
        give = ("tar", "--create", "--directory", OSD_FOLDER, ".")
        access.pipe((before, container, give), (host, step.container, take))

    def _managers(self, access: Access, hosts: tuple[str, ...]) -> None:
        argv = ("ceph", "--connect-timeout=15", "auth", "import", "--in-file", "/etc/ceph/mgr.keyring")
        access.require({h: [Command(container="ceph_mgr", argv=argv, one_shot=True)] for h in hosts})
        # of an OSD, the tool that reads its key knows older rights only
        asked = hosts[0]
        for osd in access.output(asked, ceph("osd", "ls")).split():
            access.output(asked, ceph("auth", "caps", f"osd.{osd}", *OSD_RIGHTS))
        access.containers("restart", "ceph_mgr", hosts)

    def _wait(self, access: Access, hosts: tuple[str, ...]) -> None:
        """Wait until the monitors of hosts belong to a quorum."""

        def missing(answer: Answer) -> str:
            found = view.parse_monitor(answer.output) if answer.code == 0 else None
            return "" if found and found.serves else f"{MONITOR} is {found.state if found else 'starting'}"

        await_members(access, MONITOR, hosts, mon_status, missing, START_SECONDS, f"{MONITOR} is in no quorum")


OSD_RIGHTS = ("mgr", "allow profile osd", "mon", "allow profile osd", "osd", "allow *")
"""As `ceph osd new` gives them."""

OSD_FOLDER, MON_FOLDER = "/var/lib/ceph/osd/rebuild", "/var/lib/ceph/mon/rebuild"
"""Where the store is that OSDs make, in their volumes and in the one of the first monitor."""


def drained(access: Access) -> frozenset[str]:
    """Hosts that `scs node drain` took out of service, and those that do not respond: they may be among them."""
    seen = observe_hosts(access.region, frozenset(), spared=tuple(access.region.inventory.hosts))
    return frozenset({*(h.host for h in seen.hosts if h.drained), *seen.unreachable})


def member(host: str, status: Answer, files: Answer) -> Member:
    """A member from the answers to the two commands."""
    container = running(status)
    if container is ContainerState.UNREACHABLE:
        return Member(host=host, container=container, why=status.output)
    monitor = view.parse_monitor(status.output) if status.code == 0 else None
    first, _, rest = files.output.strip().partition("\n")
    found = {s.value: s for s in Store}.get(first, Store.UNKNOWN) if files.code == 0 else Store.UNKNOWN
    listed, epoch = view.parse_monmap(rest)
    if monitor:
        listed, epoch = monitor.monitors, monitor.epoch
    why = "" if found in (Store.PRESENT, Store.EMPTY) else " ".join((rest or files.output).split())[-160:]
    return Member(host=host, container=container, why=why, monitor=monitor, store=found, listed=listed, epoch=epoch)


def _script(script: str, *arguments: str, timeout: int = 120) -> Command:
    argv = ("sh", "-ec", script, "recover", *arguments)
    return Command(container=MONITOR, argv=argv, one_shot=True, timeout=timeout)
