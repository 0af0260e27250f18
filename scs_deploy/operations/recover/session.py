# SPDX-License-Identifier: Apache-2.0
"""Access to a region whose steps are recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Step
from scs_deploy.engine.access import Access
from scs_deploy.state.runs import RunRecord, Status


@dataclass
class Session(Access):
    """A region that is looked at, or, with a record, changed."""

    still_ours: Callable[[], None] | None = None
    """asked before each step; raises when another run has taken the region meanwhile"""
    record: RunRecord | None = None

    def carry_out(self, step: Step, act: Callable[[Session, Step], None]) -> None:
        """One step, with its record."""
        if self.still_ours:
            self.still_ours()
        self.say("step", f"{names_of(step)}: {step.what}")
        record = self.record
        if record is None:
            raise ScsError(f"{step.what}: a step without a record")
        numbers = [
            record.step_started(step.what, phase="recover", host=host, subject=step.container) for host in step.hosts
        ]
        try:
            act(self, step)
        except ScsError as error:
            for number in numbers:
                record.step_finished(number, Status.FAILED, str(error))
            raise
        for index, number in enumerate(numbers):
            record.step_finished(number, Status.DONE, changes_done=0 if index else 1)
        self.say("done", f"{names_of(step)}: {step.what}")


def names_of(step: Step) -> str:
    """A step's hosts, for people."""
    return ", ".join(step.hosts)
