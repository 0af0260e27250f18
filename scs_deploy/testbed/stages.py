# SPDX-License-Identifier: Apache-2.0
"""Measure the duration of each stage of a long command, and the machine's memory usage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scs_deploy.base.model import Model

MEMINFO = Path("/proc/meminfo")
INTERVAL = 1.0
"""Seconds between two memory samples."""


class Stage(Model):
    """A finished stage."""

    name: str
    seconds: float
    share: float
    """share of the total time, 0 to 1"""


def used_memory() -> int:
    """Bytes that are not available to new processes: MemTotal - MemAvailable, without caches."""
    values = {}
    for line in MEMINFO.read_text(encoding="ascii").splitlines():
        key, _, rest = line.partition(":")
        values[key] = int(rest.split()[0]) * 1024
    return values["MemTotal"] - values["MemAvailable"]


class Stages:
    """Measures consecutive stages: `with stages.stage("images"): ...`"""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.memory_before = self.memory_peak = used_memory()
        """bytes in use on this machine at the start, and the maximum"""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All finished stages, in order."""
        total = sum(self._seconds.values()) or 1.0
        return tuple(Stage(name=n, seconds=s, share=s / total) for n, s in self._seconds.items())

    @property
    def seconds(self) -> float:
        """Total duration of all stages."""
        return sum(self._seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage. Failed stages count too."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - started

    @contextmanager
    def watch_memory(self) -> Iterator[None]:
        """Keep `memory_peak` up to date in the background."""
        end = threading.Event()

        def watch() -> None:
            while not end.wait(INTERVAL):
                self.memory_peak = max(self.memory_peak, used_memory())

        thread = threading.Thread(target=watch, name="memory", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
