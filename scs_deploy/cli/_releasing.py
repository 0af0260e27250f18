# SPDX-License-Identifier: Apache-2.0
"""`scs upgrade release`: what it says and asks on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scs_deploy.cli import _lockdiff as lockdiff
from scs_deploy.cli import _progress as show
from scs_deploy.cli._asking import ask
from scs_deploy.cli._options import console, errors
from scs_deploy.cli.backup import Progress

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment
    from scs_deploy.operations.apply import Applied, ApplyRequest
    from scs_deploy.plan.region import Plan


@dataclass(frozen=True)
class ReleaseRequest:
    """What the operator wants."""

    release: str
    request: ApplyRequest
    images: bool
    no_backup: bool
    plan: bool
    yes: bool
    command: str


def begins(environment: Environment, release: str) -> bool:
    """Whether the region is yet to go to the release; a change of its files that was interrupted is finished.

    :raises RefusedError: the release cannot be reached from here
    """
    from scs_deploy.operations.upgrade import release as release_upgrade
    from scs_deploy.operations.upgrade import release_files

    if release_upgrade.check_path(environment, release):
        return True
    settled = release_files.settle(environment)
    console.print(f"environment.yml names release {release} already{', the lock follows' if settled else ''}: going on")
    return False


def go(environment: Environment, wanted: ReleaseRequest) -> Applied | None:
    """Report all blockers, back up, show, ask, change; None: nothing was to be changed yet.

    :raises RefusedError: something speaks against it
    :raises ScsError: a change failed
    """
    from scs_deploy.operations.upgrade import release as upgrade
    from scs_deploy.operations.upgrade import release_files
    from scs_deploy.region.region import Region

    if wanted.images:
        build(release_files.seen_with(environment, wanted.release))
    upgrade.check_images(environment, wanted.release)
    with show.RunProgress() as progress:
        _, plan = upgrade.preview(environment, wanted.release, wanted.request.allow, progress)
        backup = "" if wanted.no_backup else upgrade.backed_up(environment)
    show.print_plan(plan)
    console.print(_about(backup, wanted.no_backup))
    if wanted.plan:
        return None
    ask(f"upgrade from {environment.settings.release} to {wanted.release}?", wanted.yes)
    if not backup and not wanted.no_backup:
        with Progress(False) as say:
            backup = upgrade.back_up(environment, say)
        console.print(f"[green]verified[/]: backup {backup}")
    operation = upgrade.ReleaseUpgrade(Region.load(environment.name), wanted.release, wanted.request, wanted.command)
    with show.RunProgress() as progress:

        def agreed(found: Plan) -> bool:
            progress.planned(found)
            return True

        done = operation.run(progress, agreed)
    console.print(f"[green]upgraded[/] to release {wanted.release}: {done.changes} changes in run {done.run}")
    console.print("environment.yml and release.lock.yml changed: keep them in git")
    return done


def _about(backup: str, without: bool) -> str:
    if without:
        return "[yellow]no backup is made[/]: --no-backup"
    if backup:
        return f"backup {backup} is verified"
    return "a backup is made and verified first: none of the last 24 hours was verified"


def build(environment: Environment) -> None:
    """Images from today's packages, and what changed."""
    from scs_deploy.images.progress import Progress as Building
    from scs_deploy.operations.upgrade import daily

    with Building(errors) as progress:
        changed = daily.build_images(environment, progress)
    lockdiff.show(changed)
