# SPDX-License-Identifier: Apache-2.0
"""Waiting for work that a cluster does by itself: as long as it makes progress, and no longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.access import Access

PATIENCE = 900.0
"""Seconds without progress after which something is stuck."""

INTERVAL = 5.0


@dataclass(frozen=True)
class Left:
    """What is left."""

    numbers: tuple[int, ...]
    """the first that differs tells whether it is less"""
    text: str
    """the same in words; '' if nothing is left"""
    moving: bool = False
    """work is going on right now"""


def wait(
    access: Access,
    look: Callable[[], Left],
    otherwise: str,
    hint: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look until nothing is left. What is less than ever, or moves, is progress.

    :param otherwise: begins the message
    :raises ScsError: no progress for PATIENCE seconds; says what is left
    """
    least: tuple[int, ...] | None = None
    said, since = "", clock()
    while (left := look()).text:
        if least is None or left.numbers < least or left.moving:
            since = clock()
            least = left.numbers if least is None else min(least, left.numbers)
        if clock() - since > PATIENCE:
            raise ScsError(f"{otherwise}: no progress for {PATIENCE / 60:.0f} minutes: {left.text}", hint)
        if left.text != said:
            access.say("now", left.text)
            said = left.text
        sleep(INTERVAL)
