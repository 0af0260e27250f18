# SPDX-License-Identifier: Apache-2.0
"""Observes all hosts of a region at once, reads its shared state, and makes the plan."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import addresses, looking, remote
from scs_deploy.images import registry
from scs_deploy.inventory.synced import is_synced
from scs_deploy.plan import needs_room
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.reach import reach, unseen_services
from scs_deploy.plan.region import Plan, assemble, unavailable
from scs_deploy.plan.rolling import Rolling, hosts_in_use, leftovers
from scs_deploy.region.region import INPUTS, INVENTORY, Region
from scs_deploy.region.selection import Selection
from scs_deploy.region.sources import digest
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.catalog import Catalog


@dataclass
class Observation:
    """The observed state of the hosts."""

    hosts: list[HostPlan] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    """host that need not respond: what ssh said"""


def make_plan(region: Region, selection: Selection, patience: float = 0) -> Plan:
    """Observe hosts and the region's shared state, and compare them with the desired state. Changes nothing.

    Observes the selected hosts, and those that are needed to change any; see plan.reach.

    :param patience: seconds to wait for servers to respond
    :raises RefusedError: invalid input, an unreachable host that must respond, or a host that cannot apply its changes
    :raises ScsError: observing failed
    """
    chosen = region.catalog.select(selection.services)
    only = region.select_hosts(selection.hosts) if selection.hosts else None
    _ = region.secrets, region.certificates, region.overrides, region.lock
    shared: Future[shared_state.SharedState] = Future()

    def read() -> None:
        try:
            run = remote.runner_in(region)
            shared.set_result(shared_state.read(region, run, patience, selection.data_loss))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            shared.set_exception(error)

    # a daemon thread, so that unreachable hosts are reported without waiting for the servers
    threading.Thread(target=read, daemon=True).start()
    asked = reach(region, only)
    observation = observe_hosts(region, chosen, hosts=asked.asked, spared=asked.spared)
    answered = {h.host for h in observation.hosts}
    unseen = unseen_services(region, answered)
    asked = dataclasses.replace(asked, unreachable=observation.unreachable, unseen=unseen)
    rolling = Rolling.of(region)
    state = shared.result()
    state.refuse(chosen)
    known = _known(state, observation.hosts, region.catalog)
    plan = assemble(
        observation.hosts,
        [*known, *leftovers(observation.hosts, rolling, state.evacuated)],
        region.catalog.waves,
        chosen,
        only,
        frozenset(region.environment.settings.allow) | frozenset(selection.allow),
        Ordering.of(region),
        asked,
    )
    api = region.environment.settings.api
    both = (str(api.internal.address), str(api.external.address))
    entry = (*region.catalog.load_balancers, *region.catalog.address_holders)
    holders = dict.fromkeys(entry, both)
    plan = plan.model_copy(
        update={
            "in_use": hosts_in_use(observation.hosts, rolling.backends, holders),
            "unavailable": unavailable(plan.changes, region.members),
            "evacuated": state.evacuated,
        }
    )
    needs_room.refuse(plan.changes, region.catalog, state.full)
    _check_registry(region, plan)
    holding = frozenset(region.catalog.address_holders)
    may_hold = {h.name for service in holding for h in region.hosts_of(service)}
    if may_hold <= answered and holding & chosen and addresses.unheld(observation.hosts, may_hold, holding):
        addresses.refuse_taken(region.environment, (443, 5000, 3306))
    return plan


def observe_hosts(
    region: Region, services: frozenset[str], states: bool = False, hosts: Collection[str] | None = None,
    spared: Collection[str] = frozenset(),
) -> Observation:  # fmt: skip
    """Observe hosts at once; each reports the differences of the selected services.

    :param states: also report every container's state
    :param hosts: default: all
    :param spared: hosts that need not respond
    :raises RefusedError: another host is unreachable, or a host's Docker engine does not respond
    """
    hosts = sorted(region.inventory.hosts if hosts is None else hosts)
    result = looking.look(region, hosts, services, states, pinned(region))
    # what was rendered is what the files say
    region.check_unchanged()
    away = {h: why for h, why in result.unreachable.items() if h in spared}
    result.raise_for("observing", but_unreachable=len(away) == len(result.unreachable))
    seen = [h for h in hosts if h not in away]
    return Observation(
        hosts=[HostPlan.model_validate(result.results[h]["plan"]) for h in seen],
        states=[s for h in seen for s in result.results[h].get("states", ())],
        unreachable=away,
    )


def pinned(region: Region) -> dict[str, str]:
    """Environment variables of a play that make it refuse another description than this run's.

    That is a file with other content, a synced inventory with another hash, or a service with an error that this run
    does not leave out.

    An Ansible inventory may depend on its process environment, so its hash is not checked.
    """
    inputs = {INPUTS: digest(region.inputs)} if region.inputs else {}
    synced = {INVENTORY: region.inventory.hash} if is_synced(region.environment.inventory) else {}
    return region.tolerated | inputs | synced


def _known(state: shared_state.SharedState, hosts: list[HostPlan], catalog: Catalog) -> list[Change]:
    """The differences in shared state that can be determined now.

    A server that does not respond because it is yet to be created lacks everything. A server with data that this run
    will repair is assumed to lack what new services need: services that are yet to be created and whose jobs have
    never run. The rest is compared after the run, when the server responds again.

    :raises ScsError: a server does not respond, and no change in the plan explains that
    """
    unknown = set()
    for name, why in state.failed.items():
        if not any(name in h.stateful for h in hosts):
            continue
        needed = {name, *catalog.required(name), *catalog.load_balancers, *catalog.address_holders}
        if not _about_to_change(hosts, needed):
            raise ScsError(f"{name}: {why}")
        unknown.add(name)
    known = {j.service for h in hosts for j in h.cluster_jobs if j.last}
    new = {c.service for h in hosts for c in h.changes if c.kind is Kind.CREATE} - unknown - known
    return [c for c in state.changes if c.shared is None or c.shared.server not in unknown or c.service in new]


def _about_to_change(hosts: list[HostPlan], services: Collection[str]) -> bool:
    """Whether this run will create or repair one of these services, which explains an unreadable server."""
    kinds = (Kind.CREATE, Kind.START, Kind.REPLACE, Kind.RESTART)
    return any(c.kind in kinds and c.service in services for h in hosts for c in h.changes)


def _check_registry(region: Region, plan: Plan) -> None:
    """Refuse a plan whose images are missing from the registry, before anything changes."""
    wanted = {c.subject for c in plan.changes if c.kind is Kind.PULL}
    if not wanted:
        return

    images = {
        s.containers[c].image or s.name for s in region.catalog.services.values() for c in s.containers if c in wanted
    }
    missing = registry.missing(
        region.environment, {i: region.lock.images[i] for i in images if i in region.lock.images}
    )
    if missing:
        raise RefusedError(
            f"registry {region.environment.settings.registry.host}: "
            f"missing images of the release lock: {', '.join(sorted(missing))}",
            "scs images push",
        )
