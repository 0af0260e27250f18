# SPDX-License-Identifier: Apache-2.0
"""The engine's part of a rotation: its normal plan and apply, between steps that change only what is desired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine.observe import make_plan
from scs_deploy.operations.apply import Applied
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact


@dataclass(frozen=True)
class Engine:
    """A region, and how a rotation has it changed."""

    environment: str
    apply: Callable[[Region, Selection], Applied]
    """shows the plan, asks, and carries it out: scs_deploy.apply.apply with an operator's view of it"""
    allow: tuple[Impact, ...] = ()

    def region(self) -> Region:
        """The region as it is desired now: a step before may have changed secrets or certificates."""
        return Region.load(self.environment)

    def roll(self) -> str:
        """Bring the region to its desired state; says what was done.

        :raises ScsError: a change failed, or some are held back, so that not everybody has what is new
        """
        done = self.apply(self.region(), Selection(allow=self.allow))
        if done.held:
            raise ScsError(
                f"{done.held} changes are held back: not every container has what is new",
                "repeat the command with --allow data-plane",
            )
        return f"{done.changes} changes in run {done.run}" if done.run else "nothing differs"

    def refuse_pending(self) -> str:
        """A rotation's runs shall change nothing but what it is about.

        :raises RefusedError: the region is not as desired before it begins
        """
        plan = make_plan(self.region(), Selection(allow=self.allow))
        if not plan.empty:
            first = (plan.changes or plan.held)[0]
            raise RefusedError(
                f"{len(plan.changes) + len(plan.held)} changes are pending, first: {first.kind} {first.subject} on "
                f"{first.host}: {first.reason}",
                "scs apply first",
            )
        return "nothing is pending"
