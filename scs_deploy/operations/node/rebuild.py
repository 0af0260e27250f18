# SPDX-License-Identifier: Apache-2.0
"""Nova rebuilds the guests of a dead host on others, with their disks, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.engine.events import Note, Watch
from scs_deploy.operations.node import guests as states
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.view import Guest
from scs_deploy.state.runs import RunRecord, Status

AT_ONCE = 4
"""All of them boot at the same time on fewer hosts than before."""

INTERVAL = 2.0

PATIENCE = 900.0
"""Seconds without any progress of any guest after which something is stuck."""


@dataclass
class _Rebuild:
    guest: Guest
    step: int
    began: float
    last: tuple[str, str, str] = ("", "", "")
    """host, status and task at the last look"""


class Rebuilding:
    """The guests of one host that are rebuilt.

    :param chosen: guest's id: the host that it must go to; Nova chooses for the others
    :param clock: seconds, for the wait
    """

    def __init__(
        self, cloud: Cloud, host: str, record: RunRecord, watch: Watch,
        chosen: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.cloud, self.host, self.record, self.watch = cloud, host, record, watch
        self.chosen, self.clock, self.sleep = chosen, clock, sleep
        self.running: list[_Rebuild] = []
        self.failed: list[str] = []
        self.left = 0
        self.moved = clock()
        """when anything last changed"""
        self.said = ""
        """why Nova does not answer"""

    def run(self, own: Sequence[Guest]) -> None:
        """Rebuild guests. Those that an earlier run began to rebuild are waited for.

        :raises ScsError: naming every guest that was not rebuilt; the others were
        """
        waiting = list(own)
        self.left = len(waiting)
        while waiting or self.running:
            while waiting and len(self.running) < AT_ONCE:
                self._begin(waiting.pop(0))
            if not self.running:
                continue
            self.sleep(INTERVAL)
            for one in list(self.running):
                self._look(one)
            if self.clock() - self.moved > PATIENCE:
                self._give_up(waiting)
                break
        if self.failed:
            raise ScsError(
                f"{self.host}: {len(self.failed)} of {counted(len(own), 'guest')} could not be rebuilt: "
                f"{'; '.join(self.failed)}",
                "openstack server event list GUEST; make room, then repeat the command",
            )

    def _begin(self, guest: Guest) -> None:
        step = self.record.step_started(f"evacuate {guest.name}", phase="evacuate", host=self.host, subject=guest.id)
        one = _Rebuild(guest, step, self.clock())
        try:
            at, _, task = self.cloud.where(guest.id)
            begun = at != self.host or task.startswith(states.BEGUN)
            why = "" if begun else self.cloud.evacuate(guest.id, self.chosen.get(guest.id, ""))
        except ScsError as error:
            why = str(error)
        self.moved = self.clock()
        if why:
            self._end(one, why)
        else:
            self.running.append(one)

    def _look(self, one: _Rebuild) -> None:
        try:
            now = self.cloud.where(one.guest.id)
            self.said = ""
            if now != one.last:
                one.last, self.moved = now, self.clock()
            at, status, task = now
            if at and task:
                return
            if not at:
                self._end(one, "", "was deleted")
            elif status == "ERROR" or at == self.host:
                reason = self.cloud.fault(one.guest.id) or "Nova does not say why: see its log"
                self._end(one, f"{reason} (state {status}, on {at})")
            else:
                self._end(one, "", f"is now on {at}, {status}")
        except ScsError as error:
            # the API moves after the loss of a host; it has as long as any guest
            self.said = str(error)

    def _end(self, one: _Rebuild, why: str, done: str = "") -> None:
        if one in self.running:
            self.running.remove(one)
        self.left -= 1
        self.record.step_finished(one.step, Status.FAILED if why else Status.DONE, why or done)
        if why:
            self.failed.append(f"{one.guest.name} ({one.guest.id}): {why}")
        took = f" ({self.clock() - one.began:.0f} s)" if done else ""
        text = f"{one.guest.name} " + (f"was not rebuilt: {why}" if why else f"{done}{took}")
        self.watch(Note(f"{text}; {self.left} remaining", self.host))

    def _give_up(self, waiting: Sequence[Guest]) -> None:
        minutes = f"no progress for {PATIENCE / 60:.0f} minutes"
        for one in list(self.running):
            self._end(one, f"{minutes}: {self.said or one.last[2] or 'nothing is known of it'}")
        self.failed += [f"{g.name} ({g.id}): not begun" for g in waiting]
