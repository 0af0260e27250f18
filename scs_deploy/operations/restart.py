# SPDX-License-Identifier: Apache-2.0
"""Stop, start and restart on demand: a plan like any other, made from names instead of differences."""

from __future__ import annotations

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import resolve
from scs_deploy.engine import execute
from scs_deploy.engine.events import Watch
from scs_deploy.operations.apply import Applied, inputs
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.service import Impact, Phase
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore


def act(region: Region, kind: Kind, selection: Selection, watch: Watch, command: str) -> Applied:
    """Stop, start or restart the selected containers.

    :raises RefusedError: unknown name or host, nothing selected, data plane without consent, region locked
    :raises ScsError: a container did not follow
    """
    plan = Plan(changes=tuple(_changes(region, kind, selection)))
    if not plan.changes:
        raise RefusedError("none of these runs on the chosen hosts", "scs status")
    allowed = {*region.environment.settings.allow, *selection.allow}
    if kind is not Kind.START and Impact.DATA_PLANE not in allowed:
        touched = [c.subject for c in plan.changes if c.impact is Impact.DATA_PLANE]
        if touched:
            raise RefusedError(f"{', '.join(touched)} carries guests' traffic", "add --allow data-plane")
    with RunLock(region.environment.state / "lock") as lock:
        store = RunStore(region.environment.state / "runs.sqlite3")
        try:
            record = store.start(
                command, changes_total=len(plan.changes), inputs=inputs(region), inventory=region.inventory.hash,
                secrets=region.secrets.values(),
            )  # fmt: skip
            with record.recording():
                execute.execute(region, plan, record, watch, lock.check)
        finally:
            store.close()
    return Applied(record.id, len(plan.changes), 0)


def _changes(region: Region, kind: Kind, selection: Selection) -> list[Change]:
    """One change per container and host; stopping goes in reverse order of starting."""

    catalog = region.catalog
    services = catalog.select(selection.services)
    named = {n for n in selection.services if n in catalog.owner and n not in catalog.services}
    whole = {n for n in selection.services if n not in named}
    whole_services = catalog.select(tuple(whole)) if whole else frozenset()
    for name in selection.hosts:
        if name not in region.inventory.hosts:
            raise RefusedError(f"no host '{name}' in the inventory", f"there are: {', '.join(region.inventory.hosts)}")
    result: list[Change] = []
    for host in region.inventory.hosts:
        if selection.hosts and host not in selection.hosts:
            continue
        result += [
            Change(
                kind=kind,
                service=run.service,
                host=host,
                subject=run.name,
                reason="asked for",
                phase=Phase.ROLL,
                impact=run.impact,
            )
            for run in resolve.resolve(region, host).containers.values()
            if run.service in services and (run.name in named or run.service in whole_services)
        ]
    return result[::-1] if kind is Kind.STOP else result
