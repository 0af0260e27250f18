# SPDX-License-Identifier: Apache-2.0
"""The files of a region that the page reads itself: its description, its run records, its announcements."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from scs_deploy.base.errors import ScsError
from scs_deploy.base.failures import explained
from scs_deploy.environment import announcements
from scs_deploy.environment.announcements import Announcements
from scs_deploy.region import sources
from scs_deploy.region.region import Region
from scs_deploy.state.runs import FILE, Run, RunStore, Status, recorded

RUNS_EVERY, REGION_EVERY = 1.0, 30.0
"""Seconds between two looks at files."""

Stamp = tuple[tuple[str, int, int], ...]


def stamp(*files: Path) -> Stamp:
    """Changes with the files' content: name, time and size of each that exists."""
    found = []
    for file in files:
        try:
            info = file.stat()
        except OSError:
            continue
        found.append((str(file), info.st_mtime_ns, info.st_size))
    return tuple(found)


class Watched:
    """A region's files as they are now.

    :param region: as it was loaded
    :param tell: called with `region`, `runs` or `ended` (the latest run has ended)
    :param load: loads the region again
    """

    def __init__(
        self, region: Region, tell: Callable[[str], None], load: Callable[[str], Region] | None = None
    ) -> None:
        self.region = region
        self.problem = ""
        """why the description cannot be loaded any more; the page shows the last one"""
        self._tell = tell
        self._load = load or (lambda name: Region.load(name, reading=True))
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._runs: tuple[Stamp, RunStore] | None = None
        self._said: tuple[Stamp, Announcements, str] | None = None
        self._latest: tuple[str, Status] | None = None

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._follow, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def runs(self) -> RunStore:
        """The run records as they are now: a copy, which keeps no run from writing.

        :raises ScsError: they cannot be read
        """
        now = self._runs_stamp()
        with self._guard:
            if self._runs is None or self._runs[0] != now:
                self._runs = now, recorded(self.region.environment)
            return self._runs[1]

    def announcements(self) -> tuple[Announcements, str]:
        """(what the file says, why it cannot be read); without a good file the last good one."""
        file = self.region.environment.path / announcements.FILE
        now = stamp(file)
        with self._guard:
            if self._said is None or self._said[0] != now:
                before = self._said[1] if self._said else Announcements()
                try:
                    self._said = now, announcements.load(file.parent), ""
                except ScsError as error:
                    self._said = now, before, str(error)
            return self._said[1:]

    def look(self) -> None:
        """Tell of a run that ended."""
        latest = next(iter(self.runs().list(1)), None)
        before, self._latest = self._latest, (latest.id, latest.status) if latest else ("", Status.DONE)
        if before and _ended(before, latest):
            self._tell("ended")

    def _runs_stamp(self) -> Stamp:
        file = self.region.environment.state / FILE
        return stamp(file, file.with_name(f"{FILE}-wal"))

    def _follow(self) -> None:
        seen: Stamp | None = None
        files, due = self._files(), time.monotonic() + REGION_EVERY
        while not self._over.wait(RUNS_EVERY):
            try:
                changed = (now := self._runs_stamp()) != seen
                # one that is killed leaves its record as it was
                if changed or (self._latest and self._latest[1] is Status.RUNNING):
                    self.look()
                if changed:
                    seen = now
                    self._tell("runs")
                if time.monotonic() > due:
                    if (found := self._files()) != files:
                        files = found
                        self.reload()
                    due = time.monotonic() + REGION_EVERY
            except Exception:
                # the next look may succeed
                logging.getLogger("scs").exception("the page could not look at the region's files")

    def _files(self) -> Stamp:
        return stamp(*sources.files(self.region.environment))

    def reload(self) -> None:
        """Take the description as it is now; keep the last one if that has an error."""
        try:
            self.region, self.problem = self._load(self.region.environment.name), ""
        except Exception as error:  # noqa: BLE001 - an operator may be in the middle of writing
            self.problem = str(explained(error))
        self._tell("region")


def _ended(before: tuple[str, Status], latest: Run | None) -> bool:
    """Whether a run that went on has ended, or another one began and ended."""
    if latest is None or latest.status is Status.RUNNING:
        return False
    return before[1] is Status.RUNNING or latest.id != before[0]
