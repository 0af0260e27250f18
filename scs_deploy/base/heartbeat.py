# SPDX-License-Identifier: Apache-2.0
"""A sign of life at an interval, for output that nobody redraws: a pipe, a log of CI."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scs_deploy.base.times import duration

EVERY = 10.0
"""Seconds without a line after which there is one."""


class Heartbeat:
    """Says what is being done whenever nothing was said for a while.

    :param say: prints a line; called from a thread of its own
    :param every: seconds; default: EVERY
    """

    def __init__(self, say: Callable[[str], None], every: float | None = None) -> None:
        self._say = say
        self._every = EVERY if every is None else every
        self._doing = ""
        self._begin = self._last = time.monotonic()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def doing(self, what: str) -> None:
        """What is being done from now on; empty: nothing worth a line."""
        if what != self._doing:
            self._doing, self._begin = what, time.monotonic()

    def spoke(self) -> None:
        """A line was printed."""
        self._last = time.monotonic()

    def start(self) -> None:
        """Begin to watch. May be called again after `stop`."""
        self.spoke()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._stop,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say nothing any more."""
        self._stop.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Heartbeat:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(max(0.0, self._last + self._every - time.monotonic())):
            if time.monotonic() - self._last < self._every:
                continue
            self.spoke()
            if self._doing:
                self._say(f"{self._doing} ({duration(time.monotonic() - self._begin, 0)})")
