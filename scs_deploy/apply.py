# SPDX-License-Identifier: Apache-2.0
"""Plan and apply as one run: locked, recorded, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from scs_deploy import pipeline
from scs_deploy.change import REGION
from scs_deploy.context import Context
from scs_deploy.errors import ScsError
from scs_deploy.pipeline import Progress, Selection
from scs_deploy.plan import Plan
from scs_deploy.prober import watch
from scs_deploy.prober.watch import Options
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunRecord, RunStore


@dataclass(frozen=True)
class Applied:
    """A finished run."""

    run: str
    """its id; '' when there was nothing to do"""
    changes: int
    held: int


def apply(
    context: Context,
    selection: Selection,
    progress: Progress,
    confirm: Callable[[Plan], bool] = lambda _plan: True,
    command: str = "scs apply",
    probe: Options = Options(),
) -> Applied:
    """Bring the selected part of a region to its desired state.

    :param confirm: is shown the plan and says whether to go on
    :param probe: how the region is measured meanwhile
    :raises PausedError: too many requests failed, or the operator paused it; can be resumed
    :raises RefusedError: wrong input, or another run holds the region
    :raises ScsError: a change failed, or the region is not as desired afterwards
    """
    state = context.environment.state
    state.mkdir(mode=0o700, exist_ok=True)
    with RunLock(state / "lock") as lock:
        plan = pipeline.make_plan(context, selection)
        if not plan.changes or not confirm(plan):
            return Applied("", 0, len(plan.held))
        store = RunStore(state / "runs.sqlite3")
        try:
            record = store.start(
                command, changes_total=len(plan.changes), inputs=inputs(context), secrets=context.secrets.values()
            )
            with record.recording(), _probed(context, probe, record, progress):
                pipeline.execute(context, plan, record, progress, lock.check)
                progress("verify", {})
                left = pipeline.make_plan(context, selection)
                if left.changes and all(c.host == REGION for c in left.changes):
                    # a server that this run brought back could not be compared before
                    pipeline.execute(context, left, record, progress, lock.check)
                    left = pipeline.make_plan(context, selection)
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
    context: Context, options: Options, record: RunRecord, progress: Progress
) -> AbstractContextManager[object]:
    if not options.enabled or "keystone" not in context.catalog.services:
        return nullcontext()
    environment = context.environment
    order = watch.order(context, options.ping)
    return watch.watching(order, options, record, progress, lambda why: pipeline.pause(environment, record.id, why))


def inputs(context: Context) -> str:
    """Hash of everything the run goes by: settings, inventory, release lock, specs, overrides."""
    digest = hashlib.sha256()
    folder = context.environment.inventory
    files = [context.environment.file, context.environment.lock_file]
    files += sorted(p for p in ([folder] if folder.is_file() else folder.rglob("*")) if p.is_file())
    files += [context.overrides.directory / f for f in sorted(context.overrides.files)]
    for service in context.catalog.services.values():
        files += sorted(p for p in service.directory.rglob("*") if p.is_file())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
