# SPDX-License-Identifier: Apache-2.0
"""Prepares hosts for services with `playbooks/bootstrap.yml`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.engine import reachable, runner
from scs_deploy.engine.events import Note, TaskStarted, Watch, ignore
from scs_deploy.engine.runner import Event
from scs_deploy.operations.base import Operation, Session
from scs_deploy.operations.host_network import ChangeHostNetworks, NetworkRequest, differing_hosts, network_allowed
from scs_deploy.plan.reach import HELD, split
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, store
from scs_deploy.spec.container import Impact
from scs_deploy.state.runs import Status

PLAYBOOK = "bootstrap.yml"


@dataclass
class Summary:
    """What a bootstrap did."""

    hosts: tuple[str, ...]
    changed: dict[str, list[str]] = field(default_factory=dict)
    """host: names of the tasks that changed something there"""
    secrets: tuple[str, ...] = ()
    """secrets that were missing and have been generated"""
    certificates: tuple[str, ...] = ()
    """certificates that were missing, outdated or about to expire and have been issued"""
    held: tuple[str, ...] = ()
    """hosts whose network differs from their links and was not changed for lack of consent"""
    unreachable: dict[str, str] = field(default_factory=dict)
    """hosts that wait until they respond: what ssh said"""


def facts_of(region: Region) -> dict[str, Any]:
    """The region's facts that the playbook needs. Holds no secret.

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


def _add_secrets(region: Region) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Generate the secrets and issue the certificates that a later version of scs needs; returns their names.

    A region that has none yet gets none: `scs secrets init` is for its operator to say.

    :raises RefusedError: secrets.yml or certificates.yml cannot be read, or the vault password is missing
    """
    environment = region.environment
    if not environment.secrets_file.exists() or not environment.certificates_file.exists():
        return (), ()
    added = store.ensure(environment, region.catalog.secrets(), region.catalog.secret_formats)
    issued = pki.ensure(environment, wanted_leaves(environment, region.catalog, region.inventory))
    return tuple(added), tuple(issued)


class BootstrapRequest(Model):
    """Which hosts to prepare."""

    hosts: tuple[str, ...] = ()
    """empty: all hosts of the inventory"""
    allow: tuple[Impact, ...] = ()
    """allowed impacts; the network of hosts changes only with `network`"""


class Bootstrap(Operation[BootstrapRequest, tuple[str, ...], Summary]):
    """Prepares hosts. Changes nothing on a host that is already prepared. The plan is the names of the hosts."""

    name = "bootstrap"
    requests = BootstrapRequest
    repeat = "repeat the command: prepared hosts stay unchanged"
    changing = False

    def __init__(self, region: Region, request: BootstrapRequest = BootstrapRequest(), command: str = "") -> None:
        default = " ".join(["scs bootstrap", *(f"--host {h}" for h in request.hosts)])
        super().__init__(region, request, command or default)

    def plan(self, watch: Watch = ignore) -> tuple[str, ...]:  # noqa: ARG002 - contacts no host
        """The hosts to prepare.

        :raises RefusedError: an unknown host, or scs manages the registry and the region has no CA yet
        """
        known = self.region.inventory.hosts
        for host in self.request.hosts:
            if host not in known:
                raise RefusedError(
                    f"{self.region.environment.inventory}: no host '{host}'", f"there are: {', '.join(known)}"
                )
        facts_of(self.region)
        return self.request.hosts or tuple(known)

    def total(self, plan: tuple[str, ...]) -> int:
        """See Operation."""
        return len(plan)

    def empty_result(self, plan: tuple[str, ...]) -> Summary:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return Summary(())

    def secrets(self) -> Iterable[str]:
        """None: the region may have no secrets yet."""
        return ()

    def carry_out(self, session: Session, plan: tuple[str, ...]) -> Summary:
        """See Operation.

        :raises RefusedError: a host is unreachable that must respond; nothing was changed
        :raises ScsError: a task failed on a host
        """
        lost = self._lost(session, plan)
        plan = tuple(h for h in plan if h not in lost)
        secrets, certificates = _add_secrets(self.region)
        summary = Summary(plan, secrets=secrets, certificates=certificates, unreachable=lost)
        record = session.record
        steps = {h: record.step_started("Prepare the host", phase=self.name, host=h) for h in plan}

        def note(event: Event) -> None:
            data = event.get("event_data") or {}
            if event.get("event") == "playbook_on_task_start":
                session.check()
                session.emit(TaskStarted(str(data.get("task", "")), self.name))
            if event.get("event") == "runner_on_ok" and (data.get("res") or {}).get("changed"):
                summary.changed.setdefault(data["host"], []).append(data["task"])

        playbook = paths.root() / "playbooks" / PLAYBOOK
        limit = plan if lost else self.request.hosts
        runner.run_playbook(self.region.environment, playbook, limit, note).raise_for("bootstrap")
        for host, step in steps.items():
            record.step_finished(
                step, Status.DONE, counted(len(summary.changed.get(host, [])), "task") + " made changes", 1
            )
        self._networks(session, summary)
        return summary

    def _lost(self, session: Session, plan: tuple[str, ...]) -> dict[str, str]:
        """Hosts that keep nobody from preparing the others; a host that was selected is none of them."""
        if self.request.hosts:
            return {}
        held, _ = split(self.region, reachable.unreachable(self.region, plan), plan, ())
        for host, why in held.items():
            session.emit(Note(f"{HELD}: {why}", host))
        return held

    def _networks(self, session: Session, summary: Summary) -> None:
        """Comes last, so that hosts are prepared even if their new network fails."""
        described = tuple(h for h in summary.hosts if self.region.inventory.hosts[h].links)
        if not described:
            return
        change = ChangeHostNetworks(self.region, NetworkRequest(hosts=described, allow=self.request.allow))
        plans = change.plan()
        differ = differing_hosts(plans)
        if differ and network_allowed(self.region, self.request.allow):
            session.record.expect(len(differ))
            change.carry_out(session, plans)
            for host in differ:
                summary.changed.setdefault(host, []).append("Configure the network")
        else:
            summary.held = differ
