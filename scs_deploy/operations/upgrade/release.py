# SPDX-License-Identifier: Apache-2.0
"""A region goes to another release: everything that speaks against it is found before anything changes.

The plan is made with the new release while environment.yml still names the present one. Files are written when the
operator has agreed; from then on it is a run like any other, which is resumed, repeated and taken back as such.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_model
from scs_deploy.engine import runner
from scs_deploy.engine.events import Stage, TaskDone, Watch, ignore
from scs_deploy.engine.observe import make_plan, pinned
from scs_deploy.environment.environment import Environment
from scs_deploy.images import registry
from scs_deploy.operations.apply import Applied, Apply, ApplyRequest
from scs_deploy.operations.backup import choose, create, proofs, verify
from scs_deploy.operations.backup.manifest import time_of
from scs_deploy.operations.backup.stream import Say
from scs_deploy.operations.backup.target import open_target
from scs_deploy.operations.base import Operation, Session
from scs_deploy.operations.upgrade import path, release_files, schedule
from scs_deploy.plan.region import Plan
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec import release
from scs_deploy.spec.container import Impact
from scs_deploy.spec.release import Lock
from scs_deploy.state import snapshot


def check_path(environment: Environment, target: str) -> bool:
    """Whether the region is yet to go to the release; false: it is at it, or on its way.

    :raises RefusedError: there is no such release, it is not reached from here, or a run did not reach its end
    """
    wanted = release.load_release(target)
    if target == environment.settings.release:
        return False
    names = sorted(p.stem for p in (paths.root() / "releases").glob("*.yml"))
    now = release.load_release(environment.settings.release)
    path.check_step(now, wanted, [release.load_release(n) for n in names])
    schedule.check_unattended(schedule.latest(environment))
    return True


def check_images(environment: Environment, target: str) -> None:
    """Whether the release's images are built, in the registry, and may follow on the present ones.

    :raises RefusedError: they are not, or may not
    """
    region = Region.load(environment.name)
    wanted = release.load_release(target)
    seen = release_files.seen_with(environment, target)
    lock = load_model(Lock, seen.lock_file) if seen.lock_file.is_file() else None
    path.check_images(wanted, lock)
    assert lock
    path.check_images(wanted, lock, registry.missing(seen, {n: lock.images[n] for n in wanted.images}))
    path.check_data(region.catalog.services, region.lock, lock)


def preview(
    environment: Environment, target: str, allow: tuple[Impact, ...], watch: Watch = ignore
) -> tuple[Region, Plan]:
    """What the upgrade would change. Changes nothing: new images are pulled to one host, for the questions.

    :returns: the region seen with the release, and the plan
    :raises RefusedError: something is pending, a service says that it is not ready, or consent is missing
    """
    watch(Stage(f"comparing with release {environment.settings.release}"))
    now = make_plan(Region.load(environment.name), Selection(allow=allow))
    path.check_settled(environment.settings.release, (*now.changes, *now.held))
    watch(TaskDone(f"nothing is pending with release {environment.settings.release}"))
    region = Region.load(environment.name, target)
    preflight(region, watch)
    watch(Stage(f"comparing with release {target}"))
    plan = make_plan(region, Selection(allow=allow))
    path.check_consent(target, plan.held)
    return region, plan


def questions(region: Region) -> dict[str, tuple[list[str], list[str]]]:
    """Host: containers whose image it needs, jobs that ask whether the region is ready."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for service in region.catalog.services.values():
        for name, job in service.jobs.items():
            if job.preflight:
                host = min(h.name for h in region.inventory.group(region.group_of(service.name, job.container)))
                containers, jobs = found.setdefault(host, ([], []))
                containers.append(job.container)
                jobs.append(f"{service.name}.{name}")
    return found


def preflight(region: Region, watch: Watch) -> None:
    """Have each service's own check, of the new release, look at the live region.

    :raises RefusedError: one says no
    """
    for host, (containers, jobs) in questions(region).items():
        watch(Stage(f"asking on {host}: {', '.join(jobs)}"))
        tasks: list[dict[str, Any]] = [
            {"name": "Pull", "scs.core.images": {"pull": list(dict.fromkeys(containers))}},
            {"name": f"Ask {', '.join(jobs)}", "scs.core.jobs": {"jobs": jobs, "trial": True}},
        ]
        play = {"name": "Ask", "hosts": host, "gather_facts": False, "tasks": tasks}
        result = runner.run_playbook(region.environment, [play], variables=pinned(region))
        if result.failures:
            raise RefusedError(
                f"the region is not ready for release {region.release.name}: {runner.summary(result.failures)}",
                "fix what the check names, then upgrade; nothing has changed",
            )
        result.raise_for("asking")
        watch(TaskDone(f"{', '.join(jobs)} of release {region.release.name}: ready", host))


def backed_up(environment: Environment) -> str:
    """Id of a backup of the database that was verified and is young enough; empty: there is none.

    :raises RefusedError: the target cannot be reached
    """
    good, _ = create.load(open_target(environment))
    begun = [(m.id, time_of(m.id)) for m in good.values() if m.database]
    return path.verified_backup(begun, proofs.read(environment), datetime.now(UTC))


def back_up(environment: Environment, say: Say) -> str:
    """Make a backup and prove it; returns its id.

    :raises ScsError: it cannot be made, or not be restored
    """
    region = Region.load(environment.name)
    made, _ = create.create(region, say, command="scs upgrade: backup")
    chosen = choose.choose(region, made.id, (), say)
    verify.verify(region, chosen.target, chosen.backup, chosen.links, chosen.parts, say)
    return made.id


class ReleaseUpgrade(Operation[Plan, Applied]):
    """Write the release into the environment's files and carry it out; the files go back when no run came of it.

    :param target: the release
    """

    name = "upgrade release"

    def __init__(self, region: Region, target: str, request: ApplyRequest, command: str) -> None:
        super().__init__(region, command)
        self.target, self.request = target, request

    def plan(self) -> Plan:
        """See Operation; all of `check_path`, `check_images` and `preview`.

        :raises RefusedError: something speaks against it
        """
        environment = self.region.environment
        check_path(environment, self.target)
        check_images(environment, self.target)
        return preview(environment, self.target, self.request.allow)[1]

    def execute(self, session: Session, confirm: Callable[[Plan], bool]) -> Applied:
        """See Operation. The plan was shown and agreed to before: it is not made once more to ask.

        :raises ScsError: as Apply; the files stay, and the run can be resumed or taken back
        """
        environment = self.region.environment
        snapshot.keep(environment, inputs(self.region), specs(self.region))
        held: dict[Path, bytes | None] = release_files.switch(environment, self.target)
        begun = False

        def seen(plan: Plan) -> bool:
            nonlocal begun
            begun = confirm(plan)
            return begun

        try:
            return Apply(Region.load(environment.name), self.request, self.command).execute(session, seen)
        except BaseException:
            if not begun:
                release_files.restore(held)
            raise
