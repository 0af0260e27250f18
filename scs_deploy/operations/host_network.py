# SPDX-License-Identifier: Apache-2.0
"""The networks of a region's hosts: what would change, and changing it, one host after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import runner
from scs_deploy.engine.events import TaskDone, TaskFailed, TaskStarted, Watch
from scs_deploy.host.network import action
from scs_deploy.host.network.plan import HostNetwork
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Impact
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore, Status

PLAYBOOK = "host_network.yml"


@dataclass(frozen=True)
class Applied:
    """What a run changed."""

    run: str
    """id of its record; empty: nothing was to be done"""
    hosts: tuple[str, ...] = ()
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """host: links that have no carrier"""


def chosen(region: Region, hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """The hosts that have links, in the inventory's order.

    :param hosts: only these; empty: all
    :raises RefusedError: an unknown host, or one that is asked for and has no links
    """
    known = region.inventory.hosts
    for host in hosts:
        if host not in known:
            raise RefusedError(f"{region.environment.inventory}: no host '{host}'", f"there are: {', '.join(known)}")
        if not known[host].links:
            raise RefusedError(
                f"{region.environment.inventory}: host {host} has no links",
                "its network is not scs's: describe it there",
            )
    return tuple(h for h in known if known[h].links and (not hosts or h in hosts))


def plan(region: Region, hosts: Sequence[str] = ()) -> dict[str, HostNetwork]:
    """What would change, by host; hosts that are as wanted included. All hosts are asked at the same time.

    :param hosts: only these; empty: all that have links
    :raises RefusedError: an unknown or unreachable host, or one that cannot use the renderer
    :raises ScsError: a host could not be read
    """
    names = chosen(region, hosts)
    if not names:
        return {}
    play = {
        "name": "Compare the network", "hosts": ",".join(names), "gather_facts": False,
        "roles": [{"role": "scs.host.network"}],
    }  # fmt: skip
    result = runner.run_playbook(region.environment, [play], keep_results=True, variables={action.STATE: "plan"})
    result.raise_for()
    return {host: HostNetwork.model_validate(result.results[host]["network"]) for host in names}


def may(region: Region, allow: Sequence[Impact]) -> bool:
    """Whether the operator consented to changes of hosts' networks."""
    return Impact.NETWORK in {*region.environment.settings.allow, *allow}


def apply(
    region: Region,
    plans: Mapping[str, HostNetwork],
    watch: Watch,
    command: str,
    held: RunLock | None = None,
) -> Applied:
    """Change the hosts that differ. The caller has the operator's consent.

    :param plans: of `plan`
    :param command: for the record
    :param held: the region's lock, where the caller has it
    :raises RefusedError: the region is locked, or a host's links do not fit it
    :raises ScsError: a host took its change back; the hosts after it were not touched
    """
    names = [host for host, found in plans.items() if not found.empty]
    if not names:
        return Applied("")
    warnings: dict[str, tuple[str, ...]] = {}
    with nullcontext(held) if held else RunLock(region.environment.state / "lock") as lock:
        store = RunStore(region.environment.state / "runs.sqlite3")
        try:
            record = store.start(command, changes_total=len(names), inputs=_inputs(region, names))
            with record.recording():
                for number, host in enumerate(names):
                    lock.check()
                    watch(TaskStarted(f"network of {host}", f"{number + 1} of {len(names)}"))
                    step = record.step_started("network", phase="config", host=host, subject="links")
                    try:
                        warnings[host] = _one(region, host)
                    except ScsError as error:
                        record.step_finished(step, Status.FAILED, str(error))
                        watch(TaskFailed("network", host, error.message))
                        rest = names[number + 1 :]
                        left = f"; not touched after it: {', '.join(rest)}" if rest else ""
                        raise type(error)(error.message + left, error.hint) from None
                    record.step_finished(step, Status.DONE, changes_done=1)
                    watch(TaskDone("network", host, 1))
        finally:
            store.close()
    return Applied(record.id, tuple(names), {h: w for h, w in warnings.items() if w})


def _inputs(region: Region, hosts: Sequence[str]) -> str:
    """Hash of all that the run goes by: a region's first run has no release lock yet."""
    digest = hashlib.sha256()
    for host in hosts:
        for name, link in sorted(region.inventory.hosts[host].links.items()):
            digest.update(f"{host} {name} {link.model_dump_json()}\n".encode())
    return digest.hexdigest()[:16]


def _one(region: Region, host: str) -> tuple[str, ...]:
    result = runner.run_playbook(
        region.environment, paths.root() / "playbooks" / PLAYBOOK, [host], keep_results=True,
        variables={action.ALLOW: Impact.NETWORK.value},
    )  # fmt: skip
    result.raise_for()
    return tuple(result.results.get(host, {}).get("warnings_of_links", ()))
