# SPDX-License-Identifier: Apache-2.0
"""Back to the release, images and overrides that a region had before a run; refused where data has moved on since."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.base.model import Model, load_model
from scs_deploy.engine.events import Stage, Watch, ignore
from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.images.difference import ImageChange, difference
from scs_deploy.operations.apply import Applied, Apply, ApplyRequest
from scs_deploy.operations.base import Operation, Session, agree
from scs_deploy.operations.upgrade import release_files
from scs_deploy.plan.region import Plan
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.shared import revisions
from scs_deploy.spec.job import Phase, Schema
from scs_deploy.spec.release import Lock
from scs_deploy.spec.service import Service
from scs_deploy.state import snapshot
from scs_deploy.state.runs import Run, Status, Step, run_store

UPSTREAM = re.compile(r"^(?:\d+:)?(.*?)(?:-[^-]*)?$")
"""The upstream part of a Debian version: without epoch and revision."""


class RollbackPlan(Model):
    """What a rollback does to the environment's files."""

    run: str
    lock: Lock
    release: str = Field(default="", description="that environment.yml names then; empty: it does now")
    images: tuple[ImageChange, ...] = Field(description="from now to then")
    overrides: dict[str, bytes | None] = Field(repr=False, description="path below config/: content; None: remove it")
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = Field(default=(), description="why data keeps the region from going back")

    @property
    def empty(self) -> bool:
        """Everything is as it was."""
        return not self.images and not self.overrides and not self.release


def chosen(runs: Sequence[Run], name: str | None) -> Run:
    """The run to take back: the named one, or the latest that changed what the region goes by.

    :param runs: newest first
    :raises RefusedError: there is none, or nothing is known of the time before it
    """
    if name:
        found = next((r for r in runs if r.id == name), None)
        if found is None:
            raise RefusedError(f"no run '{name}'", "scs runs list")
    else:
        found = next((r for r in runs if r.follows and r.before and r.before != r.inputs), None)
        if found is None:
            raise RefusedError("no run changed images or overrides", "scs rollback RUN names one; see scs runs list")
    if not found.before:
        raise RefusedError(f"run {found.id}: no run before it is recorded", "scs runs list")
    if found.before == found.inputs:
        raise RefusedError(
            f"run {found.id} changed neither images nor overrides", "scs rollback RUN names another; see scs runs list"
        )
    return found


def after(runs: Sequence[Run], found: Run) -> list[Run]:
    """All runs since the region was as before `found`, oldest first: also those that went there and did not arrive.

    :param runs: newest first
    """
    first = [r.id for r in runs].index(found.id)
    while first + 1 < len(runs) and not (runs[first + 1].follows and runs[first + 1].status is Status.DONE):
        first += 1
    return list(reversed(runs[: first + 1]))


def going_back(
    run: str, then: snapshot.Snapshot, now: Lock, overrides: Mapping[str, bytes], about: snapshot.About,
    images: frozenset[str] | None = None, files: frozenset[str] | None = None,
) -> RollbackPlan:  # fmt: skip
    """Compare now with then.

    :param overrides: path below config/: content, now
    :param images: only these; None: all
    :param files: first parts of override paths that may go back, e.g. `nova.conf`, `nova_compute`; None: all
    :raises RefusedError: another release was locked then, and only a part of the region is to go back
    """
    old = load_model(Lock, then.lock)
    other = old.release != now.release
    if other and images is not None:
        raise RefusedError(
            f"release {old.release} was locked before run {run}, now it is {now.release}: a region has one",
            "leave out --service",
        )
    back = {n: i for n, i in old.images.items() if images is None or n in images}
    kept = {n: i for n, i in now.images.items() if n not in back and not other}
    lock = Lock(release=old.release, images={n: {**kept, **back}[n] for n in sorted({**kept, **back})})
    before = then.overrides()
    changed = {
        path: before.get(path)
        for path in sorted(before.keys() | overrides.keys())
        if before.get(path) != overrides.get(path) and (files is None or path.partition("/")[0] in files)
    }
    notes = []
    if other:
        notes.append("of environment.yml only `release` goes back")
    elif about.settings != then.about.settings:
        notes.append("environment.yml differs from then, and stays as it is")
    if about.specs != then.about.specs:
        notes.append("this scs renders services otherwise than then: use the scs of that time for exactly those files")
    return RollbackPlan(
        run=run, lock=lock, release=old.release if other else "",
        images=difference(now.model_copy(update={"release": lock.release}), lock), overrides=changed,
        notes=tuple(notes),
    )  # fmt: skip


def obstacles(
    since: Sequence[tuple[Run, Sequence[Step]]],
    then: Mapping[str, str] | None,
    now: Mapping[str, str] | None,
    services: Mapping[str, str],
    formats: Mapping[str, tuple[str, str]],
    jobs: Mapping[str, str],
    additive: frozenset[str] = frozenset(),
    release: str = "",
) -> list[str]:
    """Why data keeps a region from going back; empty: nothing does.

    :param since: the run and all after it, with their steps
    :param then: schema: revision before the run; None: not known
    :param now: the same, now
    :param services: schema: the service that owns it
    :param formats: service: versions of its data's program then and now, up to the part that changes a format
    :param jobs: job: the service whose schema it changes
    :param additive: those of the jobs that only add: what came before works with it, as it does during the roll
    :param release: the earlier one, where that is another: what a later one wrote, also without a new revision, may be
        beyond it
    """
    result = [
        f"{service}: {new} wrote its data, {old} does not read that"
        for service, (old, new) in sorted(formats.items())
        if old != new
    ]
    ran = _jobs(since, jobs)
    if release:
        result += [f"{job} ran in {run}: release {release} need not read what came after" for job, run in ran
                   if job not in additive]  # fmt: skip
    if then is None or now is None:
        known = "before the run" if then is None else "now"
        return result + [f"{job} ran in {run}, and the schemas' revisions {known} are not known" for job, run in ran]
    for schema in sorted(then.keys() & now.keys()):
        if then[schema] != now[schema]:
            service = services.get(schema, "")
            mine = [(job, run) for job, run in ran if jobs[job] == service]
            if mine and all(job in additive for job, _ in mine):
                continue
            who = ", ".join(f"{job} in {run}" for job, run in mine) or "something else than scs"
            result.append(f"schema {schema} went from {then[schema] or 'none'} to {now[schema] or 'none'}: {who}")
    return result


def _jobs(since: Iterable[tuple[Run, Sequence[Step]]], jobs: Mapping[str, str]) -> list[tuple[str, str]]:
    """(job, run) of jobs on schemas that began."""
    found: dict[tuple[str, str], None] = {}
    for run, steps in since:
        for step in steps:
            began = step.jobs if step.jobs is not None else _jobs_in_title(step)
            found |= {(job, run.id): None for job in began if job in jobs}
    return list(found)


def _jobs_in_title(step: Step) -> tuple[str, ...]:
    """Jobs of a step that an earlier scs recorded: it kept them in the task's title only, `Run a.b, c.d`.

    Steps of this scs have a field for them, whatever their titles say.
    """
    if step.phase not in (Phase.MIGRATE, Phase.FINISH) or not step.task.startswith("Run "):
        return ()
    return tuple(step.task.removeprefix("Run ").replace(" and ", ", ").split(", "))


def series(version: str, parts: int) -> str:
    """The first parts of a Debian version's upstream part: `1:11.8.3-0+deb13u1`, 2 -> `11.8`."""
    match = UPSTREAM.match(version)
    upstream = match[1] if match else version
    return ".".join(re.split(r"[.+~]", upstream)[:parts])


def compare(region: Region, run: str | None, names: tuple[str, ...], images_only: bool) -> RollbackPlan:
    """What a rollback would do, and why it must not be done.

    :param names: services or layers; empty: all
    :raises RefusedError: no such run or service, or nothing is kept of the time before
    """
    environment, services = region.environment, region.catalog.services
    picked = region.catalog.select(names)
    with run_store(environment) as store:
        runs = store.list(snapshot.KEPT)
        found = chosen(runs, run)
        since = [(r, store.steps(r.id)) for r in after(runs, found)]
    then = snapshot.load(environment, found.before)

    about = snapshot.about(environment, specs(region))
    images = frozenset(c.image or s for s in picked for c in services[s].containers.values())
    files = frozenset(name for s in picked for name in (f"{s}.conf", s, *services[s].containers))
    overrides = snapshot.contents(environment.path / snapshot.CONFIG)
    back = going_back(
        found.id, then, region.lock, overrides, about, images if names else None,
        frozenset() if images_only else files if names else None,
    )  # fmt: skip
    old = load_model(Lock, then.lock)
    formats = {
        s: (data_series(services[s], old), data_series(services[s], region.lock))
        for s in picked
        if services[s].data_format
    }
    refused = obstacles(
        since,
        next((json.loads(r.revisions) for r, _ in since if r.revisions), None),
        revisions.read(region),
        {d: s for s in picked for d in services[s].databases},
        formats,
        {f"{s}.{n}": s for s in picked for n, j in services[s].jobs.items() if j.schema_change},
        frozenset(f"{s}.{n}" for s in picked for n, j in services[s].jobs.items() if j.schema_change is Schema.EXPAND),
        back.release,
    )
    return back.model_copy(update={"refused": tuple(refused)})


def data_series(service: Service, lock: Lock) -> str:
    """Series of the program that writes a service's data, e.g. `11.8`; empty: the lock does not know it."""
    assert service.data_format
    first = next(iter(service.containers.values()))
    locked = lock.images.get(first.image or service.name)
    return series(locked.packages.get(service.data_format.package, "") if locked else "", service.data_format.parts)


class RollbackRequest(Model):
    """Which run to take back, and how much of it."""

    run: str | None = Field(default=None, description="its id; none: the latest that changed something")
    services: tuple[str, ...] = Field(default=(), description="services or layers; empty: all")
    images_only: bool = Field(default=False, description="the override files stay as they are")
    probe: ProbeOptions = ProbeOptions()


class Rollback(Operation[RollbackRequest, RollbackPlan | Plan, Applied]):
    """Goes back to the release, images and override files that a region had before a run.

    `plan()` tells what goes back. `confirm` is shown what that changes in the region, once the files are written; they
    are put back where it is not wanted.
    """

    name = "rollback"
    requests = RollbackRequest

    def plan(self, watch: Watch = ignore) -> RollbackPlan:
        """See Operation."""
        watch(Stage("comparing with then"))
        return compare(self.region, self.request.run, self.request.services, self.request.images_only)

    def total(self, plan: RollbackPlan | Plan) -> int:
        """See Operation."""
        return 0 if isinstance(plan, RollbackPlan) and plan.empty else 1

    def nothing(self, plan: RollbackPlan | Plan) -> Applied:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return Applied("", 0, 0)

    def check(self, plan: RollbackPlan | Plan) -> None:
        """Data may keep the region from going back.

        :raises RefusedError: with every reason
        """
        if isinstance(plan, RollbackPlan) and plan.refused:
            raise RefusedError(
                f"run {plan.run} cannot be taken back: {'; '.join(plan.refused)}",
                "restore the backup that was made before it (scs backup list, scs backup restore), "
                "or go on with scs apply",
            )

    def execute(
        self,
        session: Session,
        confirm: Callable[[RollbackPlan | Plan], bool] = agree,
        plan: RollbackPlan | Plan | None = None,
        resumed: Run | None = None,  # noqa: ARG002 - its run is that of an apply
    ) -> Applied:
        """See Operation. Its run is that of an apply, as which it is resumed."""
        back = self.plan(session.emit)
        if plan is not None:
            self.check_same(plan, back)
        self.check(back)
        if back.empty:
            return self.nothing(back)
        environment = self.region.environment
        snapshot.keep(environment, inputs(self.region), specs(self.region))
        earlier = write(environment, back)
        begun = False

        def begins(plan: Plan) -> bool:
            nonlocal begun
            begun = confirm(plan)
            if not begun:
                restore(earlier)
            return begun

        try:
            request = ApplyRequest(probe=self.request.probe)
            apply = Apply(Region.load(environment.name), request, f"scs rollback {back.run}")
            return apply.execute(session, begins)
        except BaseException:
            if not begun:
                restore(earlier)
            raise

    def carry_out(self, session: Session, plan: RollbackPlan | Plan) -> Applied:
        """See `execute`."""
        return self.execute(session, plan=plan)


def write(environment: Environment, back: RollbackPlan) -> dict[Path, bytes | None]:
    """Write the environment's files; returns what they held, for `restore`."""
    held: dict[Path, bytes | None] = {environment.lock_file: environment.lock_file.read_bytes()}
    if back.release:
        text = environment.file.read_bytes()
        changed = release_files.text_with(text.decode(), back.release, str(environment.file)).encode()
        held[environment.file] = text
        release_files.put(environment.file, changed)
    for path, content in back.overrides.items():
        file = environment.path / snapshot.CONFIG / path
        held[file] = file.read_bytes() if file.is_file() else None
        release_files.put(file, content)
    replace(environment.lock_file, release_lock.text(back.lock))
    return held


def restore(held: Mapping[Path, bytes | None]) -> None:
    """Take `write` back."""
    for file, content in held.items():
        release_files.put(file, content)
