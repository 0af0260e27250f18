# SPDX-License-Identifier: Apache-2.0
"""Live migration of a host's guests, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.engine.events import Note, Watch
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.view import Guest
from scs_deploy.state.runs import RunRecord, Status

AT_ONCE = 2
"""Nova itself lets one leave a host at a time by default; the second one is prepared meanwhile."""

INTERVAL = 2.0
SETTLE = 10.0
"""Seconds after which a guest that is where it was, with nothing going on, counts as failed."""

PATIENCE = 3600.0
"""Seconds for one guest: a large one with a busy memory takes long."""

FAILED = ("error", "failed", "cancelled")


@dataclass
class _Move:
    guest: Guest
    began: float
    step: int


def migrate(cloud: Cloud, host: str, guests: Sequence[Guest], record: RunRecord, watch: Watch) -> None:
    """Move guests off a host. Those that an earlier run began to move are waited for.

    :raises ScsError: naming every guest that did not leave; the others did
    """
    waiting = list(guests)
    moving: list[_Move] = []
    failed: list[str] = []
    left = len(waiting)
    while waiting or moving:
        while waiting and len(moving) < AT_ONCE:
            guest = waiting.pop(0)
            step = record.step_started(f"migrate {guest.name}", phase="drain", host=host, subject=guest.id)
            why = "" if guest.task.startswith("migrating") else _begin(cloud, host, guest)
            if why:
                record.step_finished(step, Status.FAILED, why)
                failed.append(f"{guest.name} ({guest.id}): {why}")
                watch(Note(f"{guest.name}: {why}", host))
                left -= 1
            else:
                moving.append(_Move(guest, time.monotonic(), step))
        time.sleep(INTERVAL)
        for move in list(moving):
            now, why = _look(cloud, host, move)
            if not now and not why:
                continue
            moving.remove(move)
            left -= 1
            took = time.monotonic() - move.began
            record.step_finished(move.step, Status.FAILED if why else Status.DONE, why or f"is now on {now}")
            if why:
                failed.append(f"{move.guest.name} ({move.guest.id}): {why}")
            text = f"{move.guest.name} " + (f"was not migrated: {why}" if why else f"is now on {now} ({took:.0f} s)")
            watch(Note(f"{text}; {left} remaining", host))
    if failed:
        raise ScsError(
            f"{host}: {len(failed)} of {counted(len(guests), 'guest')} could not be migrated: {'; '.join(failed)}",
            "see openstack server migration list; then repeat the command",
        )


def _begin(cloud: Cloud, host: str, guest: Guest) -> str:
    at, _, task = cloud.where(guest.id)
    if at != host or task.startswith("migrating"):
        # gone meanwhile, or on its way
        return ""
    return cloud.migrate(guest.id)


def _look(cloud: Cloud, host: str, move: _Move) -> tuple[str, str]:
    """(where it is now, why it failed); both '' while it moves."""
    at, status, task = cloud.where(move.guest.id)
    took = time.monotonic() - move.began
    if not at:
        return "nowhere: it was deleted", ""
    if task:
        return ("", "") if took < PATIENCE else ("", f"still {task} after {took / 60:.0f} minutes")
    if at != host:
        return (at, "") if status != "ERROR" else ("", f"in ERROR on {at}")
    last = cloud.last_migration(move.guest.id)
    if status == "ERROR" or (took > SETTLE and last in FAILED):
        return "", f"its migration ended as {last or 'nothing'}, its state is {status}"
    return ("", "") if took < PATIENCE else ("", f"its migration is {last or 'nothing'} after {took / 60:.0f} minutes")
