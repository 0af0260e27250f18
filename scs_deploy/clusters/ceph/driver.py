# SPDX-License-Identifier: Apache-2.0
"""Ceph's driver: monitors, which vote; managers, of which one is active; and OSDs, which hold copies of data.

Commands run in a container of a monitor, which has the operator's key. A monitor that hangs is not asked about itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.clusters.base import (
    Answers,
    ClusterDriver,
    ClusterState,
    DataHost,
    Procedure,
    RecoveryOptions,
    Seen,
    SharedStorage,
)
from scs_deploy.clusters.ceph import data, fence, procedure, view
from scs_deploy.clusters.ceph.commands import VIEW, ceph, mon_status
from scs_deploy.clusters.ceph.recovery import CephOptions
from scs_deploy.clusters.ceph.view import Ceph
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command
from scs_deploy.region.ceph import MONITOR, OSD
from scs_deploy.shared.ceph import room

MONITORS, MANAGERS, OSDS = "Ceph monitors", "Ceph managers", "Ceph OSDs"
"""Names of the clusters."""

TAKE_OVER, LEAVE = 60, 60
"""Seconds for another manager to become active, and for a monitor to leave the map."""


class Driver(ClusterDriver, DataHost, SharedStorage):
    """A Ceph cluster."""

    OPTIONS = CephOptions
    replicated = True

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts with a monitor."""
        return tuple(h.name for h in self.region.hosts_of(self.service.name, MONITOR))

    @property
    def disks(self) -> dict[str, tuple[str, ...]]:
        """Host: containers of its OSDs."""
        found: dict[str, list[str]] = {}
        for container in self.service.containers:
            if container == OSD or container.startswith(f"{OSD}_"):
                for host in self.region.hosts_of(self.service.name, container):
                    found.setdefault(host.name, []).append(container)
        return {host: tuple(own) for host, own in found.items()}

    def questions(self, host: str) -> dict[str, Command]:
        """What a monitor says of itself, and what it learns from the quorum."""
        return {"monitor": mon_status(host), "cluster": VIEW} if self.here(host, MONITOR) else {}

    def parse(self, answers: Answers) -> Seen:
        """Monitors, managers and OSDs, as the first monitor with a quorum sees them."""
        own = {h: view.parse_monitor(a["monitor"].output) for h, a in answers.items() if "monitor" in a}
        found = next(filter(None, (view.parse(a["cluster"].output) for a in answers.values() if "cluster" in a)), None)
        known = [m for m in own.values() if m]
        listed = found.monitors if found else max(known, key=lambda m: m.epoch).monitors if known else ()
        serving = {h for h, m in own.items() if m and m.serves}
        monitors = ClusterState(
            name=MONITORS, service=self.service.name, members=tuple(sorted(listed)), wanted=self.hosts,
            alive=tuple(sorted(found.quorum if found else serving)), leader=found.leader if found else "",
            says={h: m.state if m else "does not answer" for h, m in own.items()},
        )  # fmt: skip
        return Seen(
            clusters=(monitors, self._managers(found), self._osds(found)),
            stores={h: found.cannot_leave(h) if found else NO_QUORUM for h in self._storing(found)},
            held=frozenset(found.ours & found.held if found else ()),
            shared=_unusable(found),
            fenced=found.fenced if found else {},
            full=room.refusal(found.fill if found else None),
        )

    def _managers(self, found: Ceph | None) -> ClusterState:
        alive = [m for m in (found.manager, *found.standbys) if m] if found else []
        return ClusterState(
            name=MANAGERS, service=self.service.name, members=tuple(sorted(alive)), alive=tuple(sorted(alive)),
            wanted=self.hosts, leader=found.manager if found else "", hands_over=True, votes=False,
            says={h: "no manager answers" for h in self.hosts if h not in alive},
        )  # fmt: skip

    def _osds(self, found: Ceph | None) -> ClusterState:
        expected, alive, says, heard = self.disks, [], {}, []
        for host in self._storing(found):
            there = found.of(host) if found else ()
            count = max(len(expected.get(host, ())), len(there))
            up, inside = sum(o.up for o in there), sum(o.inside for o in there)
            if up:
                heard.append(host)
            if there and up == inside == count:
                alive.append(host)
            else:
                says[host] = f"{up} of {counted(count, 'OSD')} up, {inside} in" if found else NO_QUORUM
        members = tuple(sorted({o.host for o in found.osds})) if found else ()
        return ClusterState(
            name=OSDS, service=self.service.name, members=members, alive=tuple(alive), wanted=tuple(sorted(expected)),
            votes=False, says=says, needs=dict(self._needed(found)), heard=tuple(heard),
        )  # fmt: skip

    def _needed(self, found: Ceph | None) -> Iterable[tuple[str, str]]:
        """Hosts and why their OSDs must not stop now."""
        for host in self._storing(found):
            if why := found.must_not_stop(host) if found else NO_QUORUM:
                yield host, why

    def _storing(self, found: Ceph | None) -> list[str]:
        return sorted({*self.disks, *(o.host for o in (found.osds if found else ()))})

    # membership

    def leave(self, access: Access, state: ClusterState, host: str) -> None:
        """Remove a monitor from the map; it ends by itself. OSDs and managers leave when they stop."""
        if state.name == MONITORS and host in state.members:
            self._remove(access, state, host)

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:
        """Remove a lost monitor from the map."""
        if state.name == MONITORS and empty and host in state.members and state.other(host):
            self._remove(access, state, host)

    def _remove(self, access: Access, state: ClusterState, host: str) -> None:
        other = state.other(host)
        if not other:
            raise ScsError(f"no other monitor than the one on {host} works", "scs recover ceph --plan")

        def listed() -> bool:
            found = ask(access, other, "quorum_status")
            return host in [m["name"] for m in found["monmap"]["mons"]]

        if listed():
            access.output(other, ceph("mon", "remove", host))
            if access.wait(lambda: host if listed() else "", LEAVE, show=False):
                raise ScsError(f"the monitor on {host} is still a member")
            access.say("note", f"removed the monitor on {host} from the cluster")

    def step_down(self, access: Access, state: ClusterState, host: str) -> None:
        """Have a standby become the active manager."""
        if state.name != MANAGERS:
            return
        asked = self.asker(access, but=host)

        def active() -> str:
            found = ask(access, asked, "mgr", "dump")
            return "" if found["available"] and found["active_name"] != host else found["active_name"] or "none"

        if active() == host:
            access.output(asked, ceph("mgr", "fail", host))
        if left := access.wait(active, TAKE_OVER, show=False):
            raise ScsError(f"Ceph's active manager is {left}", "docker exec ceph_mon ceph mgr stat")

    def asker(self, access: Access, but: str = "") -> str:
        """A host whose monitor belongs to a quorum, another one than `but` if there is one.

        :raises ScsError: there is none
        """
        hosts = sorted(self.hosts, key=lambda h: h == but)
        said = access.run({h: [mon_status(h)] for h in hosts}, together=True).by_host
        for host in hosts:
            found = view.parse_monitor(said[host][0].output) if host in said else None
            if found and found.serves:
                return host
        raise ScsError(NO_QUORUM, "scs recover ceph --plan")

    # copies of data

    def hold(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:  # noqa: ARG002 - asks anew
        """Set noout for the host, and note that it is ours."""
        data.hold(access, self.asker(access, but=host), host)

    def let_go(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:  # noqa: ARG002 - asks anew
        """Take back noout, if it is ours."""
        data.let_go(access, self.asker(access, but=host), host)

    def move_data(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:  # noqa: ARG002 - asks anew
        """Mark the host's OSDs out, and wait until none of them is needed."""
        asked = self.asker(access, but=host)
        found = look(access, asked)
        if why := found.cannot_leave(host):
            raise ScsError(why, "add a host with disks first")
        data.let_go(access, asked, host)
        if osds := [o.id for o in found.of(host)]:
            data.empty(access, asked, osds)

    def drop_lost(self, access: Access, seen: Iterable[ClusterState], host: str, everything: bool) -> None:  # noqa: ARG002
        """Purge OSDs: all of a host that leaves, with its place in the CRUSH map; else those that are down."""
        asked = self.asker(access, but=host)
        found = look(access, asked)
        if osds := [o.id for o in found.of(host) if everything or not o.up]:
            data.empty(access, asked, osds)
            data.purge(access, asked, osds)
        if everything and host in found.buckets:
            access.output(asked, ceph("osd", "crush", "remove", host))
            access.say("note", f"removed {host} from Ceph's CRUSH map")

    # hosts that are shut out

    def fence(self, access: Access, host: str, addresses: Collection[str]) -> None:
        """Put the host's addresses on the blocklist, and note that it is ours."""
        fence.impose(access, self.asker(access, but=host), host, addresses)

    def unfence(self, access: Access, host: str, addresses: Collection[str]) -> None:
        """Take them off."""
        fence.lift(access, self.asker(access, but=host), host, addresses)

    def open_disks(self, access: Access, disks: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Who watches these images."""
        if not disks:
            return {}
        argv = ("python3", "-c", _open_disks(), *sorted(disks))
        said = access.execute(self.asker(access), Command(container=MONITOR, argv=argv, timeout=120))
        try:
            return {name: tuple(own) for name, own in json.loads(said.output[said.output.index("{") :]).items()}
        except ValueError:
            last = (said.output.strip().splitlines() or ["no answer"])[-1]
            raise ScsError(f"Ceph does not say which disks are open: {last[:200]}", "scs storage status") from None

    def recovery(self, options: RecoveryOptions) -> Procedure:
        """Bring monitors back, or rebuild their store."""
        chosen = CephOptions.model_validate(options.model_dump())
        return procedure.CephProcedure(chosen, self.service.name, self.disks)


NO_QUORUM = "no quorum of monitors answers"


@cache
def _open_disks() -> str:
    """A program that travels along with each question."""
    return Path(__file__).with_name("open_disks.py").read_text(encoding="utf-8")


def _unusable(found: Ceph | None) -> str:
    """Why guests' disks cannot be used now; '' if they can."""
    if found is None:
        return NO_QUORUM
    if inactive := found.groups.inactive:
        return f"{counted(inactive, 'placement group')} of Ceph {'serves' if inactive == 1 else 'serve'} nobody"
    return ""


def ask(access: Access, host: str, *words: str) -> Any:
    """What the cluster answers.

    :raises ScsError: it refuses, or answers no JSON
    """
    text = access.output(host, ceph(*words, "--format=json"))
    try:
        return json.loads(text[text.index("{") :])
    except ValueError:
        raise ScsError(f"ceph {' '.join(words)}: unexpected answer {text[:100]!r}") from None


def look(access: Access, host: str) -> Ceph:
    """The cluster.

    :raises ScsError: no quorum answers
    """
    found = view.parse(access.output(host, VIEW))
    if found is None:
        raise ScsError(NO_QUORUM, "scs recover ceph --plan")
    return found
