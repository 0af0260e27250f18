# SPDX-License-Identifier: Apache-2.0
"""Upgrades a region to another release. All blockers are reported before anything changes.

The plan is made with the new release while environment.yml still names the current one. The files are written once the
operator confirms. From then on it is a normal run, which can be resumed, repeated and rolled back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.engine import runner
from scs_deploy.engine.events import Note, Stage, TaskDone, Watch, guarded, ignore
from scs_deploy.engine.observe import make_plan, pinned
from scs_deploy.environment import own
from scs_deploy.environment.environment import Environment
from scs_deploy.images import registry
from scs_deploy.operations.apply import Applied
from scs_deploy.operations.backup import choose, create, proofs, verify
from scs_deploy.operations.backup.manifest import time_of
from scs_deploy.operations.backup.target import open_target
from scs_deploy.operations.base import Operation, Session, always_agree, latest
from scs_deploy.operations.upgrade import daily, path, release_files, schedule
from scs_deploy.operations.upgrade.daily import DailyUpgrade, UpgradeRequest
from scs_deploy.plan.reach import refuse_unreachable
from scs_deploy.plan.region import Plan
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region import options
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import signing
from scs_deploy.secrets import store as secrets
from scs_deploy.spec import release
from scs_deploy.spec.container import Impact
from scs_deploy.spec.release import Lock
from scs_deploy.state import snapshot
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import Run


class ReleaseRequest(Model):
    """Which release to upgrade to, and how."""

    release: str
    allow: tuple[Impact, ...] = ()
    probe: ProbeOptions = ProbeOptions()
    images: bool = False
    """build the release's images first"""
    backup: bool = True
    """require a verified backup of the database from the last 24 hours; make one if there is none"""
    validation: bool = True
    """validate the region after the upgrade"""

    @property
    def rest(self) -> UpgradeRequest:
        """The request for the rest of the upgrade, once the region's files name the release."""
        return UpgradeRequest(allow=self.allow, probe=self.probe, validation=self.validation)


class ReleasePlan(Model):
    """What an upgrade to a release would do."""

    now: str = Field(description="current release of the region")
    release: str
    plan: Plan
    backup: str = Field(default="", description="id of the verified backup; empty: none exists or none is required")
    backs_up: bool = Field(default=False, description="the upgrade makes and verifies a backup first")


class ReleaseUpgrade(Operation[ReleaseRequest, ReleasePlan, Applied]):
    """Upgrades a region to another OpenStack release, and validates it."""

    name = "upgrade release"
    requests = ReleaseRequest

    def plan(self, watch: Watch = ignore) -> ReleasePlan:
        """Check for blockers and plan the changes. Pulls new images to one host of each service that has a check.

        :raises RefusedError: something blocks the upgrade
        """
        environment, request = self.region.environment, self.request
        check_path(environment, request.release)
        check_images(environment, request.release)
        check_overrides(self.region, request.release, guarded(watch))
        plan = preview(environment, request.release, request.allow, guarded(watch))
        backup = backed_up(environment) if request.backup else ""
        return ReleasePlan(
            now=environment.settings.release, release=request.release, plan=plan, backup=backup,
            backs_up=request.backup and not backup,
        )  # fmt: skip

    def total(self, plan: ReleasePlan) -> int:
        """See Operation."""
        return len(plan.plan.changes)

    def empty_result(self, plan: ReleasePlan) -> Applied:
        """See Operation."""
        return Applied("", 0, len(plan.plan.held), tuple(plan.plan.unreachable))

    def run(
        self,
        watch: Watch = ignore,
        confirm: Callable[[ReleasePlan], bool] = always_agree,
        plan: ReleasePlan | None = None,
        resumed: Run | None = None,
    ) -> Applied:
        """See Operation. The run is recorded, and resumed, as a daily upgrade."""
        environment = self.region.environment
        if self.request.images:
            daily.build_images(release_files.seen_with(environment, self.request.release), guarded(watch))
        done = super().run(watch, confirm, plan, resumed)
        if done.run and self.request.validation:
            daily.validate_region(environment, done.run, guarded(watch))
        return done

    def execute(
        self,
        session: Session,
        confirm: Callable[[ReleasePlan], bool] = always_agree,
        plan: ReleasePlan | None = None,
        resumed: Run | None = None,  # noqa: ARG002 - its run is recorded as a daily upgrade
    ) -> Applied:
        """See Operation."""
        made = self.plan(session.emit) if plan is None else plan
        return self.carry_out(session, made) if confirm(made) else self.empty_result(made)

    def carry_out(self, session: Session, plan: ReleasePlan) -> Applied:
        """Back up, write the release to the environment's files, and apply. Restores the files if no run begins.

        :raises ScsError: as for an apply; the files keep the new release, and the run can be resumed or rolled back
        """
        environment = self.region.environment
        if plan.backs_up:
            session.emit(Note(f"backup {back_up(environment, session.emit)} is verified"))
        snapshot.keep(environment, inputs(self.region), specs(self.region))
        earlier = release_files.switch(environment, plan.release)
        begun = False

        def begins(_plan: Plan) -> bool:
            nonlocal begun
            begun = True
            return True

        try:
            upgrade = DailyUpgrade(Region.load(environment.name), self.request.rest, self.command)
            return upgrade.execute(session, begins)
        except BaseException:
            if not begun:
                release_files.restore(earlier)
            raise


def operation(region: Region, request: ReleaseRequest, command: str = "") -> ReleaseUpgrade | DailyUpgrade:
    """The upgrade to a release. If the region's files already name it, the rest of the upgrade.

    Completes a change of those files that was interrupted.

    :raises RefusedError: the region cannot be upgraded to this release
    """
    environment = region.environment
    if check_path(environment, request.release):
        return ReleaseUpgrade(region, request, command)
    with region_lock(environment):
        settled = release_files.settle(environment)
    if settled:
        region = Region.load(environment.name)
    return DailyUpgrade(region, request.rest.model_copy(update={"images": request.images}), command)


def check_path(environment: Environment, target: str) -> bool:
    """Whether the region has yet to be upgraded to the release; false: its files already name it.

    :raises RefusedError: the release does not exist or cannot be reached from here, or a run is unfinished
    """
    wanted = release.load_release(target)
    if target == environment.settings.release:
        return False
    names = sorted(p.stem for p in (paths.root() / "releases").glob("*.yml"))
    now = release.load_release(environment.settings.release)
    path.check_step(now, wanted, [release.load_release(n) for n in names])
    schedule.check_unattended(latest(environment))
    return True


def check_images(environment: Environment, target: str) -> None:
    """Check that the release's images are in the registry, and can read the data of the current ones.

    :raises RefusedError: images are missing, or cannot read the data
    """
    region = Region.load(environment.name)
    wanted = own.load_release(environment, target)
    seen = release_files.seen_with(environment, target)
    lock = load_model(Lock, seen.lock_file) if seen.lock_file.is_file() else None
    path.check_images(wanted, lock)
    assert lock
    path.check_images(wanted, lock, registry.missing(seen, {n: lock.images[n] for n in wanted.images}))
    path.check_data(region.catalog.services, region.lock, lock)


def check_overrides(region: Region, target: str, watch: Watch) -> None:
    """Check that the new release's services read every option of the operator's overrides.

    :raises RefusedError: they do not, and the environment refuses that; names all options
    """
    ahead = Region.load(region.environment.name, target)
    found = options.problems(ahead, options.lists(region))
    if wrong := options.refused(region, found):
        raise RefusedError(f"release {target}: {'; '.join(map(str, wrong))}")
    for problem in found:
        watch(Note(f"warning: release {target}: {problem}"))


def preview(environment: Environment, target: str, allow: tuple[Impact, ...], watch: Watch) -> Plan:
    """What the upgrade would change. Changes nothing, but pulls new images to the hosts that run the checks.

    :raises RefusedError: changes are pending, a service is not ready, or consent is missing
    """
    watch(Stage(f"comparing with release {environment.settings.release}"))
    pending = make_plan(Region.load(environment.name), Selection(allow=allow))
    refuse_unreachable(pending.unreachable, f"the upgrade to release {target}")
    path.check_settled(environment.settings.release, (*pending.changes, *pending.held))
    watch(TaskDone(f"no changes are pending with release {environment.settings.release}"))
    region = Region.load(environment.name, target)
    preflight(region, watch)
    watch(Stage(f"comparing with release {target}"))
    plan = make_plan(region, Selection(allow=allow))
    refuse_unreachable(plan.unreachable, f"the upgrade to release {target}")
    path.check_consent(target, plan.held)
    return plan


def preflight_jobs(region: Region) -> dict[str, tuple[list[str], list[str]]]:
    """Host: (containers whose images it needs, jobs that check whether the region is ready)."""
    by_host: dict[str, tuple[list[str], list[str]]] = {}
    for service in region.catalog.services.values():
        for name, job in service.jobs.items():
            if job.preflight:
                host = min(h.name for h in region.hosts_of(service.name, job.container))
                containers, jobs = by_host.setdefault(host, ([], []))
                containers.append(job.container)
                jobs.append(f"{service.name}.{name}")
    return by_host


def preflight(region: Region, watch: Watch) -> None:
    """Run the upgrade checks of the new release's services against the live region.

    :raises RefusedError: a check fails
    """
    for host, (containers, jobs) in preflight_jobs(region).items():
        watch(Stage(f"checking on {host}: {', '.join(jobs)}"))
        tasks: list[dict[str, Any]] = [
            {"name": "Pull", "scs.core.images": {"pull": list(dict.fromkeys(containers))}},
            {"name": f"Check {', '.join(jobs)}", "scs.core.jobs": {"jobs": jobs, "trial": True}},
        ]
        play = {"name": "Check", "hosts": host, "gather_facts": False, "tasks": tasks}
        result = runner.run_playbook(region.environment, [play], variables=pinned(region))
        if result.failures:
            raise RefusedError(
                f"the region is not ready for release {region.release.name}: {runner.summary(result.failures)}",
                "fix what the check reports, then upgrade; nothing has changed",
            )
        result.raise_for("checking")
        watch(TaskDone(f"{', '.join(jobs)} of release {region.release.name} on {host}: ready"))


def backed_up(environment: Environment) -> str:
    """Id of a verified and recent backup of the database; empty: there is none.

    :raises RefusedError: the backup target is unreachable
    """
    stored = create.load(environment, open_target(environment), signing.keys(secrets.load(environment)))
    begun = [(m.id, time_of(m.id)) for m in stored.good.values() if m.database]
    return path.verified_backup(begun, proofs.read(environment), datetime.now(UTC))


def back_up(environment: Environment, watch: Watch) -> str:
    """Make and verify a backup; returns its id.

    :raises ScsError: the backup cannot be made or cannot be restored
    """
    region = Region.load(environment.name)
    made = create.CreateBackup(region, create.BackupRequest(), "scs upgrade: backup").run(watch=watch).backup
    chosen = choose.choose(region, made.id, (), watch)
    verify.verify(region, chosen.target, chosen.backup, chosen.links, chosen.parts, watch)
    return made.id
