# SPDX-License-Identifier: Apache-2.0
"""The steps of a rotation that plan and apply changes to the region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.plural import counted
from scs_deploy.engine.observe import make_plan
from scs_deploy.operations.apply import Applied
from scs_deploy.plan.reach import refuse_unreachable
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact


@dataclass(frozen=True)
class Engine:
    """A region, and how a rotation applies changes to it."""

    environment: str
    apply: Callable[[Region, Selection], Applied]
    """shows the plan, asks for confirmation, and carries it out"""
    allow: tuple[Impact, ...] = ()

    def region(self) -> Region:
        """The region, loaded again because an earlier step may have changed secrets or certificates."""
        return Region.load(self.environment)

    def roll(self) -> str:
        """Bring the region to its desired state; returns what was done.

        :raises ScsError: a change failed, or changes are held back, so that some containers keep old values
        """
        done = self.apply(self.region(), Selection(allow=self.allow))
        if done.unreachable:
            raise ScsError(
                f"{', '.join(done.unreachable)} became unreachable: some containers still have the old values",
                "repair or remove it, then repeat the command",
            )
        if done.held:
            raise ScsError(
                f"{counted(done.held, 'change')} held back: some containers still have the old values",
                "repeat the command with --allow data-plane",
            )
        return f"{counted(done.changes, 'change')} in run {done.run}" if done.run else "no changes"

    def refuse_pending(self) -> str:
        """Check that the region is in its desired state, so that the rotation makes only its own changes.

        :raises RefusedError: changes are pending
        """
        plan = make_plan(self.region(), Selection(allow=self.allow))
        refuse_unreachable(plan.unreachable, "a rotation")
        if not plan.empty:
            first = (plan.changes or plan.held)[0]
            raise RefusedError(
                f"{counted(len(plan.changes) + len(plan.held), 'change')} pending, first: "
                f"{first.kind} {first.subject} on {first.host}: {first.reason}",
                "run scs apply first",
            )
        return "no changes pending"
