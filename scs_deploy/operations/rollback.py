# SPDX-License-Identifier: Apache-2.0
"""Returns a region to the release, images and overrides that it had before a run, unless its data has changed since."""

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
from scs_deploy.environment import own, release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.images.difference import ImageChange, difference
from scs_deploy.operations.apply import Applied, Apply, ApplyRequest
from scs_deploy.operations.base import Operation, Session, always_agree
from scs_deploy.operations.upgrade import release_files
from scs_deploy.operations.upgrade.release_files import Kept, kept
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
"""The upstream part of a Debian version, without epoch and revision."""


class RollbackPlan(Model):
    """What a rollback does to the environment's files."""

    run: str
    lock: Lock
    release: str = Field(default="", description="to write to environment.yml; empty: keep the release")
    images: tuple[ImageChange, ...] = Field(description="images that change")
    overrides: dict[str, bytes | None] = Field(
        repr=False, description="path below the environment's folder: content; None: remove the file"
    )
    modes: dict[str, int] = Field(default={}, description="path: who may read and run a file that is restored")
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = Field(default=(), description="why the data rules out a rollback")

    @property
    def empty(self) -> bool:
        """Nothing has changed since the run."""
        return not self.images and not self.overrides and not self.release


def choose_run(runs: Sequence[Run], name: str | None) -> Run:
    """The run to roll back: the named one, or the latest that changed the region's inputs.

    :param runs: newest first
    :raises RefusedError: there is no such run, or its earlier inputs are unknown
    """
    if name:
        run = next((r for r in runs if r.id == name), None)
        if run is None:
            raise RefusedError(f"no run '{name}'", "scs runs list")
    else:
        run = next((r for r in runs if r.follows and r.before and r.before != r.inputs), None)
        if run is None:
            raise RefusedError("no run changed images or overrides", "name a run of scs runs list: scs rollback RUN")
    if not run.before:
        raise RefusedError(f"run {run.id}: no run before it is recorded", "scs runs list")
    if run.before == run.inputs:
        raise RefusedError(
            f"run {run.id} changed neither images nor overrides", "name another run of scs runs list: scs rollback RUN"
        )
    return run


def runs_since(runs: Sequence[Run], run: Run) -> list[Run]:
    """All runs since the last successful one before `run`, oldest first, including unsuccessful ones before it.

    :param runs: newest first
    """
    first = [r.id for r in runs].index(run.id)
    while first + 1 < len(runs) and not (runs[first + 1].follows and runs[first + 1].status is Status.DONE):
        first += 1
    return list(reversed(runs[: first + 1]))


def plan_rollback(
    run: str, earlier: snapshot.Snapshot, current: Lock, overrides: Mapping[str, bytes], about: snapshot.About,
    images: frozenset[str] | None = None, files: frozenset[str] | None = None,
) -> RollbackPlan:  # fmt: skip
    """Compare the current inputs with the earlier ones.

    :param overrides: path below the environment's folder: current content of overrides, own services and own images
    :param images: only these; None: all
    :param files: first two parts of the paths to roll back, e.g. `config/nova.conf`, `services/sample`; None: all
    :raises RefusedError: the release changed, and only a part of the region is to be rolled back
    """
    old = load_model(Lock, earlier.lock)
    other = old.release != current.release
    if other and images is not None:
        raise RefusedError(
            f"run {run} changed the release from {old.release} to {current.release}: it can only be rolled back whole",
            "leave out --service",
        )
    back = {n: i for n, i in old.images.items() if images is None or n in images}
    kept = {n: i for n, i in current.images.items() if n not in back and not other}
    lock = Lock(release=old.release, images={n: {**kept, **back}[n] for n in sorted({**kept, **back})})
    before = earlier.written()
    changed = {
        path: before.get(path)
        for path in sorted(before.keys() | overrides.keys())
        if before.get(path) != overrides.get(path) and (files is None or "/".join(path.split("/", 2)[:2]) in files)
    }
    notes = []
    if other:
        notes.append("in environment.yml only `release` is rolled back")
    elif about.settings != earlier.about.settings:
        notes.append("environment.yml has changed since, and is not rolled back")
    if about.specs != earlier.about.specs:
        notes.append("this version of scs renders services differently: use the earlier version to get the same files")
    return RollbackPlan(
        run=run, lock=lock, release=old.release if other else "",
        images=difference(current.model_copy(update={"release": lock.release}), lock), overrides=changed,
        modes={path: earlier.mode(path) for path, content in changed.items() if content is not None},
        notes=tuple(notes),
    )  # fmt: skip


def find_obstacles(
    since: Sequence[tuple[Run, Sequence[Step]]],
    earlier: Mapping[str, str] | None,
    current: Mapping[str, str] | None,
    services: Mapping[str, str],
    formats: Mapping[str, tuple[str, str]],
    jobs: Mapping[str, str],
    additive: frozenset[str] = frozenset(),
    release: str = "",
) -> list[str]:
    """Why the data rules out a rollback; empty: it does not.

    :param since: the run and all later ones, with their steps
    :param earlier: schema: its revision before the run; None: unknown
    :param current: schema: its current revision; None: unknown
    :param services: schema: the service that owns it
    :param formats: service: earlier and current version of the program that writes its data, down to the part that
        changes with the data format
    :param jobs: job: the service whose schema it changes
    :param additive: jobs that only add to a schema, so that the earlier program works with it, as during a roll
    :param release: the earlier release, if it differs: it may be unable to read data of the current one, even if no
        revision has changed
    """
    result = [
        f"{service}: {new} wrote its data, which {old} cannot read"
        for service, (old, new) in sorted(formats.items())
        if old != new
    ]
    ran = _jobs(since, jobs)
    if release:
        result += [f"{job} ran in {run}: release {release} may be unable to read data written since" for job, run in ran
                   if job not in additive]  # fmt: skip
    if earlier is None or current is None:
        which = "earlier" if earlier is None else "current"
        return result + [f"{job} ran in {run}, and the {which} schema revisions are unknown" for job, run in ran]
    for schema in sorted(earlier.keys() & current.keys()):
        if earlier[schema] != current[schema]:
            service = services.get(schema, "")
            mine = [(job, run) for job, run in ran if jobs[job] == service]
            if mine and all(job in additive for job, _ in mine):
                continue
            cause = ", ".join(f"{job} in {run}" for job, run in mine) or "not by scs"
            revisions_of = f"{earlier[schema] or 'none'} to {current[schema] or 'none'}"
            result.append(f"schema {schema} went from {revisions_of}: {cause}")
    return result


def _jobs(since: Iterable[tuple[Run, Sequence[Step]]], jobs: Mapping[str, str]) -> list[tuple[str, str]]:
    """(job, run) of schema jobs that were started."""
    started: dict[tuple[str, str], None] = {}
    for run, steps in since:
        for step in steps:
            began = step.jobs if step.jobs is not None else _jobs_in_title(step)
            started |= {(job, run.id): None for job in began if job in jobs}
    return list(started)


def _jobs_in_title(step: Step) -> tuple[str, ...]:
    """Jobs of a step that an earlier version of scs recorded, which kept them only in the title, e.g. `Run a.b, c.d`.

    Steps of this version have a field for them.
    """
    if step.phase not in (Phase.MIGRATE, Phase.FINISH) or not step.task.startswith("Run "):
        return ()
    return tuple(step.task.removeprefix("Run ").replace(" and ", ", ").split(", "))


def series(version: str, parts: int) -> str:
    """The first parts of the upstream version in a Debian version: `1:11.8.3-0+deb13u1`, 2 -> `11.8`."""
    match = UPSTREAM.match(version)
    upstream = match[1] if match else version
    return ".".join(re.split(r"[.+~]", upstream)[:parts])


def compare(region: Region, run: str | None, names: tuple[str, ...], images_only: bool) -> RollbackPlan:
    """What a rollback would do, and what rules it out.

    :param names: services or layers; empty: all
    :raises RefusedError: the run or service does not exist, or there is no snapshot from before the run
    """
    environment, services = region.environment, region.catalog.services
    picked = region.catalog.select(names)
    with run_store(environment) as store:
        runs = store.list(environment.settings.keep.snapshots)
        record = choose_run(runs, run)
        since = [(r, store.steps(r.id)) for r in runs_since(runs, record)]
    earlier = snapshot.load(environment, record.before)

    about = snapshot.about(environment, specs(region))
    images = frozenset(c.image or s for s in picked for c in services[s].containers.values())
    files = frozenset(
        name
        for s in picked
        for name in (
            *(f"{snapshot.CONFIG}/{name}" for name in (f"{s}.conf", s, *services[s].containers)),
            f"{own.SERVICES}/{s}",
            *(f"{own.IMAGES}/{c.image or s}.yml" for c in services[s].containers.values()),
        )
    )
    overrides = snapshot.written(environment.path)
    back = plan_rollback(
        record.id, earlier, region.lock, overrides, about, images if names else None,
        frozenset() if images_only else files if names else None,
    )  # fmt: skip
    old = load_model(Lock, earlier.lock)
    formats = {
        s: (data_series(services[s], old), data_series(services[s], region.lock))
        for s in picked
        if services[s].data_format
    }
    refused = find_obstacles(
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
    """Series of the program that writes a service's data, e.g. `11.8`; empty: it is not in the lock."""
    assert service.data_format
    first = next(iter(service.containers.values()))
    locked = lock.images.get(first.image or service.name)
    return series(locked.packages.get(service.data_format.package, "") if locked else "", service.data_format.parts)


class RollbackRequest(Model):
    """Which run to roll back, and how much of it."""

    run: str | None = Field(default=None, description="its id; null: the latest that changed something")
    services: tuple[str, ...] = Field(default=(), description="services or layers; empty: all")
    images_only: bool = Field(default=False, description="do not roll back override files")
    probe: ProbeOptions = ProbeOptions()


class Rollback(Operation[RollbackRequest, RollbackPlan | Plan, Applied]):
    """Returns to the release, images and override files that a region had before a run.

    `plan()` returns the files that would change. `execute()` writes them, and passes the resulting plan of the region
    to `confirm`. If that is declined, it restores the files.
    """

    name = "rollback"
    requests = RollbackRequest

    def plan(self, watch: Watch = ignore) -> RollbackPlan:
        """See Operation."""
        watch(Stage("comparing with the earlier state"))
        return compare(self.region, self.request.run, self.request.services, self.request.images_only)

    def total(self, plan: RollbackPlan | Plan) -> int:
        """See Operation."""
        return 0 if isinstance(plan, RollbackPlan) and plan.empty else 1

    def empty_result(self, plan: RollbackPlan | Plan) -> Applied:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return Applied("", 0, 0)

    def check(self, plan: RollbackPlan | Plan) -> None:
        """See Operation.

        :raises RefusedError: the data rules out a rollback; names every reason
        """
        if isinstance(plan, RollbackPlan) and plan.refused:
            raise RefusedError(
                f"run {plan.run} cannot be rolled back: {'; '.join(plan.refused)}",
                "restore a backup from before the run (scs backup list, scs backup restore), "
                "or keep the current state (scs apply)",
            )

    def execute(
        self,
        session: Session,
        confirm: Callable[[RollbackPlan | Plan], bool] = always_agree,
        plan: RollbackPlan | Plan | None = None,
        resumed: Run | None = None,  # noqa: ARG002 - its run is recorded, and resumed, as an apply
    ) -> Applied:
        """See Operation. The run is recorded, and resumed, as an apply."""
        back = self.plan(session.emit)
        if plan is not None:
            self.check_same(plan, back)
        self.check(back)
        if back.empty:
            return self.empty_result(back)
        environment = self.region.environment
        snapshot.keep(environment, inputs(self.region), specs(self.region))
        earlier = write(environment, back)
        begun = False

        def begins(plan: Plan) -> bool:
            nonlocal begun
            agreed = confirm(plan)
            if agreed:
                apply.region.check_unchanged()
            else:
                restore(earlier)
            begun = agreed
            return agreed

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


def write(environment: Environment, back: RollbackPlan) -> dict[Path, Kept | None]:
    """Write the environment's files; returns their previous contents, for `restore`."""
    previous = {environment.lock_file: kept(environment.lock_file)}
    if back.release:
        text = environment.file.read_bytes()
        changed = release_files.text_with(text.decode(), back.release, str(environment.file)).encode()
        previous[environment.file] = kept(environment.file)
        release_files.put(environment.file, changed)
    for path, content in back.overrides.items():
        file = environment.path / path
        previous[file] = kept(file)
        release_files.put(file, content, back.modes.get(path))
    replace(environment.lock_file, release_lock.text(back.lock))
    return previous


def restore(previous: Mapping[Path, Kept | None]) -> None:
    """Undo `write`."""
    for file, before in previous.items():
        release_files.put(file, before and before.content, before and before.mode)
