# SPDX-License-Identifier: Apache-2.0
"""How long each part of a long command takes, and how much memory the machine uses meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scs_deploy.base.model import Model

MEMINFO = Path("/proc/meminfo")
INTERVAL = 1.0
"""Seconds between two looks at the memory."""


class Stage(Model):
    """A finished part."""

    name: str
    seconds: float
    share: float
    """of all stages, 0 to 1"""


def used_memory() -> int:
    """Bytes that this machine cannot give to new processes: MemTotal - MemAvailable, caches not counted."""
    values = {}
    for line in MEMINFO.read_text(encoding="ascii").splitlines():
        key, _, rest = line.partition(":")
        values[key] = int(rest.split()[0]) * 1024
    return values["MemTotal"] - values["MemAvailable"]


class Stages:
    """Times parts one after the other: `with stages.stage("images"): ...`"""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.memory_before = self.memory_peak = used_memory()
        """bytes in use on this machine, at the beginning and at most"""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All finished parts, in order."""
        total = sum(self._seconds.values()) or 1.0
        return tuple(Stage(name=n, seconds=s, share=s / total) for n, s in self._seconds.items())

    @property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self._seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one part; a failed one counts too."""
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
