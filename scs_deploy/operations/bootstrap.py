# SPDX-License-Identifier: Apache-2.0
"""Prepares hosts for services: `playbooks/bootstrap.yml` and what it needs to know of the region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.engine import runner
from scs_deploy.engine.events import TaskStarted
from scs_deploy.engine.runner import Event
from scs_deploy.operations import host_network
from scs_deploy.operations.base import Operation, Session, Start
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.state.runs import RunRecord, Status

PLAYBOOK = "bootstrap.yml"


@dataclass
class Summary:
    """What a bootstrap did."""

    hosts: tuple[str, ...]
    changed: dict[str, list[str]] = field(default_factory=dict)
    """host: names of the tasks that changed something there"""
    held: tuple[str, ...] = ()
    """hosts whose network differs from their links, and nobody consented to change it"""


def facts_of(region: Region) -> dict[str, Any]:
    """What the playbook reads of the region; no secret among it.

    :raises RefusedError: scs manages the registry, but the region has no CA yet
    """
    settings, environment = region.environment.settings, region.environment
    names = [{"address": str(a.address), "name": a.name} for a in (settings.api.internal, settings.api.external)]
    names += [{"address": host.management, "name": host.name} for host in region.inventory.hosts.values()]
    registries = {}
    if settings.registry.managed:
        if not environment.ca_file.is_file():
            raise RefusedError(f"{environment.ca_file}: no region CA", "scs secrets init")
        registries[settings.registry.host] = environment.ca_file.read_text(encoding="ascii")
    return {"names": names, "registries": registries}


class Bootstrap(Operation[tuple[str, ...], Summary]):
    """Prepare hosts. Changes nothing on a host that is prepared already.

    :param hosts: host names; empty: all of the inventory
    :param allow: impacts that the operator consents to; the hosts' networks change with `network` only
    """

    name = "bootstrap"
    repeat = "repeat the command: a host that is prepared is left as it is"

    def __init__(self, region: Region, hosts: Sequence[str] = (), allow: Sequence[Impact] = ()) -> None:
        super().__init__(region, " ".join(["scs bootstrap", *(f"--host {h}" for h in hosts)]))
        self.hosts, self.allow = tuple(hosts), tuple(allow)

    def plan(self) -> tuple[str, ...]:
        """The hosts to prepare.

        :raises RefusedError: an unknown host, or scs manages the registry and the region has no CA yet
        """
        known = self.region.inventory.hosts
        for host in self.hosts:
            if host not in known:
                raise RefusedError(
                    f"{self.region.environment.inventory}: no host '{host}'", f"there are: {', '.join(known)}"
                )
        facts_of(self.region)
        return self.hosts or tuple(known)

    def execute(self, session: Session, confirm: Callable[[tuple[str, ...]], bool]) -> Summary:
        """See Operation.

        :raises RefusedError: an unreachable host; nothing was changed anywhere
        :raises ScsError: a task failed on a host
        """
        hosts = self.plan()
        if not confirm(hosts):
            return Summary(())
        start = Start(
            operation=self.name, command=self.command, total=len(hosts), inventory=self.region.inventory.hash,
            repeat=self.repeat,
        )  # fmt: skip
        with session.recording(start) as record:
            return self.prepare(session, record)

    def prepare(self, session: Session, record: RunRecord) -> Summary:
        """The same within a run that is recorded already."""
        summary = Summary(self.plan())
        steps = {h: record.step_started("Prepare the host", phase=self.name, host=h) for h in summary.hosts}

        def note(event: Event) -> None:
            data = event.get("event_data") or {}
            if event.get("event") == "playbook_on_task_start":
                session.emit(TaskStarted(str(data.get("task", "")), self.name))
            if event.get("event") == "runner_on_ok" and (data.get("res") or {}).get("changed"):
                summary.changed.setdefault(data["host"], []).append(data["task"])

        playbook = paths.root() / "playbooks" / PLAYBOOK
        runner.run_playbook(self.region.environment, playbook, self.hosts, note).raise_for("bootstrap")
        for host, step in steps.items():
            record.step_finished(step, Status.DONE, f"{len(summary.changed.get(host, []))} tasks changed something", 1)
        self._networks(session, record, summary)
        return summary

    def _networks(self, session: Session, record: RunRecord, summary: Summary) -> None:
        """Last, so that a host whose new network fails is prepared all the same."""
        described = [h for h in summary.hosts if self.region.inventory.hosts[h].links]
        differ = host_network.differing(host_network.plan(self.region, described)) if described else ()
        if differ and host_network.may(self.region, self.allow):
            host_network.change(self.region, differ, session, record)
            for host in differ:
                summary.changed.setdefault(host, []).append("Configure the network")
        else:
            summary.held = differ
