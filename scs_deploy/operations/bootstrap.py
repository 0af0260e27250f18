# SPDX-License-Identifier: Apache-2.0
"""Prepares hosts for services: `playbooks/bootstrap.yml` and what it needs to know of the region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.engine import runner
from scs_deploy.engine.events import ignore
from scs_deploy.engine.runner import Event
from scs_deploy.operations import host_network as networks
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Impact
from scs_deploy.state.lock import RunLock

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


def run(
    environment: str | None = None,
    hosts: Sequence[str] = (),
    on_event: Callable[[Event], None] | None = None,
    allow: Sequence[Impact] = (),
    lock: RunLock | None = None,
) -> Summary:
    """Prepare hosts. Changes nothing on a host that is prepared already.

    :param hosts: host names; empty: all of the inventory
    :param on_event: sees every event of ansible-runner
    :param allow: impacts that the operator consents to; the hosts' networks change with `network` only
    :param lock: the region's, where the caller has it
    :raises RefusedError: an unknown or unreachable host, or the region is locked; nothing was changed anywhere
    :raises ScsError: a task failed on a host
    """
    region = Region.load(environment)
    for host in hosts:
        if host not in region.inventory.hosts:
            known = ", ".join(region.inventory.hosts)
            raise RefusedError(f"{region.environment.inventory}: no host '{host}'", f"there are: {known}")
    facts_of(region)
    summary = Summary(tuple(hosts) or tuple(region.inventory.hosts))

    def note(event: Event) -> None:
        data = event.get("event_data") or {}
        if event.get("event") == "runner_on_ok" and (data.get("res") or {}).get("changed"):
            summary.changed.setdefault(data["host"], []).append(data["task"])
        if on_event:
            on_event(event)

    with nullcontext(lock) if lock else RunLock(region.environment.state / "lock") as held:
        _prepare(region, hosts, note)
        _networks(region, summary, allow, held)
    return summary


def _prepare(region: Region, hosts: Sequence[str], note: Callable[[Event], None]) -> None:
    result = runner.run_playbook(region.environment, paths.root() / "playbooks" / PLAYBOOK, hosts, note)
    result.raise_for("bootstrap")


def _networks(region: Region, summary: Summary, allow: Sequence[Impact], lock: RunLock) -> None:
    """Last, so that a host whose new network fails is prepared all the same."""

    described = [h for h in summary.hosts if region.inventory.hosts[h].links]
    plans = networks.plan(region, described) if described else {}
    differ = tuple(h for h, found in plans.items() if not found.empty)
    if differ and networks.may(region, allow):
        networks.apply(region, plans, ignore, f"scs bootstrap {' '.join(differ)}", lock)
        for host in differ:
            summary.changed.setdefault(host, []).append("Configure the network")
    else:
        summary.held = differ
