# SPDX-License-Identifier: Apache-2.0
"""`scs upgrade --release`: what it says and asks on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from scs_deploy.cli import _lockdiff as lockdiff
from scs_deploy.cli import _progress as show
from scs_deploy.cli._options import console, errors
from scs_deploy.cli.backup import Progress

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment
    from scs_deploy.operations.apply import Applied
    from scs_deploy.plan.region import Plan
    from scs_deploy.prober.watch import Options
    from scs_deploy.region.selection import Selection


@dataclass(frozen=True)
class Orders:
    """What the operator wants."""

    release: str
    selection: Selection
    probe: Options
    images: bool
    no_backup: bool
    plan: bool
    yes: bool
    command: str


def begins(environment: Environment, release: str) -> bool:
    """Whether the region is yet to go to the release; a change of its files that was interrupted is finished.

    :raises RefusedError: the release cannot be gone to from here
    """
    from scs_deploy.operations.upgrade import release as release_upgrade
    from scs_deploy.operations.upgrade import release_files as ahead

    if release_upgrade.step(environment, release):
        return True
    settled = ahead.settle(environment)
    console.print(f"environment.yml names release {release} already{', the lock follows' if settled else ''}: going on")
    return False


def go(environment: Environment, orders: Orders) -> Applied | None:
    """Find what speaks against it, back up, show, ask, change; None: nothing was to be changed yet.

    :raises RefusedError: something speaks against it
    :raises ScsError: a change failed
    """
    from scs_deploy.operations.upgrade import release as release_upgrade
    from scs_deploy.operations.upgrade import release_files as ahead

    if orders.images:
        build(ahead.seen_with(environment, orders.release))
    release_upgrade.images(environment, orders.release)
    with Progress(False) as say:
        _, plan = release_upgrade.look(environment, orders.release, orders.selection.allow, say)
        backup = "" if orders.no_backup else release_upgrade.backed_up(environment)
    show.print_plan(plan)
    console.print(_about(backup, orders.no_backup))
    if orders.plan:
        return None
    if not orders.yes and not typer.confirm(f"upgrade from {environment.settings.release} to {orders.release}?"):
        raise typer.Exit(1)
    if not backup and not orders.no_backup:
        with Progress(False) as say:
            backup = release_upgrade.back_up(environment, say)
        console.print(f"[green]verified[/]: backup {backup}")
    with show.RunProgress() as progress:

        def agreed(found: Plan) -> bool:
            progress.planned(found)
            return True

        done = release_upgrade.perform(
            environment, orders.release, orders.selection, progress, agreed, orders.command, orders.probe
        )
    console.print(f"[green]upgraded[/] to release {orders.release}: {done.changes} changes in run {done.run}")
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
    from scs_deploy.images.build import Region
    from scs_deploy.images.progress import Progress as Building

    with Building(errors) as progress:
        result = Region(environment, progress).build()
    lockdiff.show(result.difference)
