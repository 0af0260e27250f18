# SPDX-License-Identifier: Apache-2.0
"""Calls at a fixed rate, even if earlier calls have not returned: a hanging call does not delay the others."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class Schedule:
    """Calls `work` every `interval` seconds in its own threads.

    :param longest: maximum seconds of a call; determines the number of concurrent calls
    """

    def __init__(self, name: str, interval: float, longest: float, work: Callable[[], None]) -> None:
        self._interval, self._work = interval, work
        self._due = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.cpu = 0.0
        """CPU seconds that finished threads used"""
        count = math.ceil(longest / interval) + 1
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]

    def start(self) -> None:
        """Start. The first call is due immediately."""
        self._due = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Make no further calls."""
        self._stop.set()

    def join(self, timeout: float) -> None:
        """Wait for pending calls, at most `timeout` seconds in total."""
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                # after a stall of this process, do not make all overdue calls at once
                self._due = max(self._due, time.monotonic() - self._interval)
                due = self._due
                self._due += self._interval
            if self._stop.wait(max(due - time.monotonic(), 0)):
                break
            self._work()
        with self._lock:
            self.cpu += time.thread_time()
