# SPDX-License-Identifier: Apache-2.0
"""Plan and apply as one run: locked, recorded, measured, verified, and resumed when it did not reach its end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.engine import execute
from scs_deploy.engine.events import Stage, Watch
from scs_deploy.engine.observe import make_plan
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.change import REGION
from scs_deploy.plan.region import Plan
from scs_deploy.prober import watch as probing
from scs_deploy.prober.watch import Options
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.shared import revisions
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.service import Impact
from scs_deploy.state import snapshot
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import Run, RunRecord, RunStore, Status

OPEN = (Status.PAUSED, Status.FAILED, Status.INTERRUPTED)
"""How a run stands that can be resumed."""


@dataclass(frozen=True)
class Applied:
    """A finished run."""

    run: str
    """its id; '' when there was nothing to do"""
    changes: int
    held: int


class Orders(Model):
    """What a run's record keeps for its resumption."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    probe: Options = Options()

    @property
    def selection(self) -> Selection:
        """What of the region the run may change."""
        return Selection(self.services, self.hosts, self.allow)


def apply(
    region: Region,
    selection: Selection,
    watch: Watch,
    confirm: Callable[[Plan], bool] = lambda _plan: True,
    command: str = "scs apply",
    probe: Options = Options(),
) -> Applied:
    """Bring the selected part of a region to its desired state.

    :param confirm: is shown the plan and says whether to go on
    :param probe: how the region is measured meanwhile
    :raises RefusedError: wrong input, or another run holds the region
    :raises PausedError: too many requests failed, or the operator paused it; can be resumed
    :raises ScsError: a change failed, or the region is not as desired afterwards
    """
    orders = Orders(services=selection.services, hosts=selection.hosts, allow=selection.allow, probe=probe)

    def begin(store: RunStore, plan: Plan) -> RunRecord:
        found = revisions.read(region)
        snapshot.keep(region.environment, inputs(region), specs(region))
        return store.start(
            command, changes_total=len(plan.changes), inputs=inputs(region), inventory=region.inventory.hash,
            secrets=region.secrets.values(),
            resume=orders.model_dump_json(), revisions="" if found is None else json.dumps(found, sort_keys=True),
        )  # fmt: skip

    with RunLock(region.environment.state / "lock") as lock:
        plan = make_plan(region, selection)
        if not plan.changes or not confirm(plan):
            return Applied("", 0, len(plan.held))
        return _carry_out(region, orders, plan, watch, lock, begin)


def resume(
    region: Region,
    run: str | None,
    watch: Watch,
    confirm: Callable[[Plan], bool] = lambda _plan: True,
    probe: Options | None = None,
) -> Applied:
    """Go on with a run that was paused, failed or interrupted: what is left of it, under its own record.

    :param run: its id; None: the latest
    :param probe: instead of the options that the run had
    :raises RefusedError: there is no such run, it cannot be resumed, or another one came after it
    """
    environment = region.environment
    with RunLock(environment.state / "lock") as lock:
        store = RunStore(environment.state / "runs.sqlite3")
        try:
            found = store.get(run, changing=True)
            check_resumable(found, next(iter(store.list(1, changing=True)), found))
        finally:
            store.close()
        orders = Orders.model_validate_json(found.resume)
        if probe is not None:
            orders = orders.model_copy(update={"probe": probe})
        execute.go_on(environment, found.id)
        plan = make_plan(region, orders.selection)
        if not confirm(plan):
            return Applied("", 0, len(plan.held))
        return _carry_out(
            region, orders, plan, watch, lock,
            lambda s, p: s.resume(found, changes_left=len(p.changes), secrets=region.secrets.values()),
        )  # fmt: skip


def check_resumable(run: Run, latest: Run) -> None:
    """Whether a run may be resumed.

    :raises RefusedError: why not
    """
    if run.status not in OPEN:
        hint = "scs runs list" if run.status is Status.RUNNING else "scs plan shows what differs now"
        raise RefusedError(f"run {run.id} is {run.status}, there is nothing to resume", hint)
    if not run.resume:
        said = f"run {run.id} (`{run.command}`) cannot be resumed"
        raise RefusedError(said, "repeat the command: it finds out what is done already")
    if run.id != latest.id:
        raise RefusedError(
            f"run {latest.id} (`{latest.command}`) came after {run.id}", "scs apply does all that is left now"
        )


def _carry_out(
    region: Region,
    orders: Orders,
    plan: Plan,
    watch: Watch,
    lock: RunLock,
    begin: Callable[[RunStore, Plan], RunRecord],
) -> Applied:
    store = RunStore(region.environment.state / "runs.sqlite3")
    try:
        record = begin(store, plan)
        with record.recording(), _probed(region, orders.probe, record, watch, plan):
            left = plan
            if plan.changes:
                execute.execute(region, plan, record, watch, lock.check)
                watch(Stage("verifying that nothing is left"))
                left = make_plan(region, orders.selection, shared_state.PATIENCE)
            if left.changes and all(c.host == REGION for c in left.changes):
                # a server that this run brought back could not be compared before
                execute.execute(region, left, record, watch, lock.check)
                left = make_plan(region, orders.selection, shared_state.PATIENCE)
            if left.changes:
                first = left.changes[0]
                raise ScsError(
                    f"{len(left.changes)} changes are left after the run, first: "
                    f"{first.kind} {first.subject} on {first.host}: {first.reason}",
                    "scs plan",
                )
        return Applied(record.id, len(plan.changes), len(plan.held))
    finally:
        store.close()


def _probed(
    region: Region, options: Options, record: RunRecord, watch: Watch, plan: Plan
) -> AbstractContextManager[object]:
    if not options.enabled or not plan.changes or "keystone" not in region.catalog.services:
        return nullcontext()
    environment = region.environment
    files = {"samples": probe_log(environment, record.id), "lock": environment.state / "prober.lock"}
    job = probing.probe_job(region, options.ping).model_copy(update=files)
    return probing.watching(job, options, record, watch, lambda why: execute.pause(environment, record.id, why))


def probe_log(environment: Environment, run: str) -> Path:
    """Every request that a run's prober made, as lines of JSON: kind, start and seconds, error where it failed."""
    file = execute.folder_of(environment, run) / "probe.jsonl"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return file


def inputs(region: Region) -> str:
    """Hash of everything the run goes by: settings, inventory, release lock, specs, overrides."""
    digest = hashlib.sha256()
    folder = region.environment.inventory
    files = [region.environment.file, region.environment.lock_file]
    files += sorted(p for p in ([folder] if folder.is_file() else folder.rglob("*")) if p.is_file())
    files += [region.overrides.directory / f for f in sorted(region.overrides.files)]
    for file in [*files, *_specs(region)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def specs(region: Region) -> str:
    """Hash of the service specs and templates."""
    digest = hashlib.sha256()
    for file in _specs(region):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _specs(region: Region) -> list[Path]:
    services = region.catalog.services.values()
    return [p for s in services for p in sorted(s.directory.rglob("*")) if p.is_file()]
