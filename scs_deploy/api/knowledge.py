# SPDX-License-Identifier: Apache-2.0
"""What the page knows of its region: looked for in the background, kept until the next look. No request waits for one.

A view can never end a run: run records are only read.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from scs_deploy.api.facts import TYPES, Kind
from scs_deploy.base.errors import ScsError
from scs_deploy.base.failures import explained
from scs_deploy.base.model import Model

INTERVALS: Mapping[Kind, float] = {
    Kind.ANSWERS: 30, Kind.MONITORING: 30, Kind.CONTAINERS: 60, Kind.PLAN: 600, Kind.BACKUPS: 900,
    Kind.CERTIFICATES: 3600, Kind.INVENTORY: 3600,
}  # fmt: skip
"""Seconds between two looks, at least; the first ones in this order."""

SHARE = 5
"""A look that takes long is repeated less often: it rests this many times as long as it took."""

AT_ONCE = 2
"""Looks at the same time."""

LIMIT = 1800.0
"""Seconds after which a look is given up."""

OLD = 5
"""A fact that is older than this many intervals says nothing any more."""

F = TypeVar("F", bound=Model)


@dataclass(frozen=True)
class Known:
    """The latest look of a kind."""

    value: Model | None = None
    """of the latest look that succeeded"""
    at: datetime | None = None
    """when that look began"""
    error: str = ""
    """why the latest look failed; empty: it succeeded"""
    looking: bool = False
    """whether one goes on, or is about to"""
    took: float = 0.0
    """seconds"""


def rest(interval: float, took: float) -> float:
    """Seconds from the end of a look to the next one."""
    return max(interval - took, took * SHARE, 1.0)


def is_old(kind: Kind, known: Known, now: datetime) -> bool:
    """Whether a fact says nothing of the region as it is now."""
    if known.at is None:
        return True
    longest = INTERVALS[kind] + known.took * (SHARE + 2)
    return (now - known.at).total_seconds() > longest * OLD


@dataclass
class Looker:
    """Starts looks in processes of their own, and ends them with the page."""

    environment: str
    _running: set[int] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def __call__(self, kind: Kind, names: Sequence[str] = ()) -> Model:
        """The result of a look.

        :raises ScsError: it failed, in the words of the command that does the same
        """
        command = [sys.executable, "-m", "scs_deploy.api.look", kind, self.environment, *names]
        with self._guard:
            if self._closed:
                raise ScsError("the page ends")
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            )  # fmt: skip
            self._running.add(process.pid)
        try:
            output, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            _end(process.pid)
            process.communicate()
            raise ScsError(f"no result after {LIMIT / 60:.0f} minutes") from None
        finally:
            with self._guard:
                self._running.discard(process.pid)
        return result(kind, output, errors)

    def close(self) -> None:
        """End all looks."""
        with self._guard:
            self._closed = True
            for pid in self._running:
                _end(pid)


def result(kind: Kind, output: str, errors: str) -> Model:
    """What a look printed.

    :raises ScsError: it failed
    """
    try:
        said: dict[str, Any] = json.loads(output)
    except ValueError:
        lines = errors.strip().splitlines()
        raise ScsError(f"the look ended without a result: {lines[-1][:300] if lines else 'no message'}") from None
    if "error" in said:
        raise ScsError(said["error"], said["hint"])
    return TYPES[kind].model_validate(said["value"])


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)


class Knowledge:
    """All facts of a region.

    :param look: makes a look
    :param kinds: to look for
    :param tell: called after each change with the name of what changed
    """

    def __init__(self, look: Callable[[Kind], Model], kinds: Iterable[Kind], tell: Callable[[str], None]) -> None:
        self._look, self._tell = look, tell
        self.kinds = tuple(k for k in INTERVALS if k in set(kinds))
        self._known: dict[Kind, Known] = {}
        self._wanted = {k: threading.Event() for k in self.kinds}
        self._slots = threading.Semaphore(AT_ONCE)
        self._over = threading.Event()

    def start(self) -> None:
        """Look from now on, each kind in a thread of its own."""
        for number, kind in enumerate(self.kinds):
            threading.Thread(target=self._follow, args=(kind, number), name=f"look-{kind}", daemon=True).start()

    def stop(self) -> None:
        """Begin no further look."""
        self._over.set()
        for event in self._wanted.values():
            event.set()

    def known(self, kind: Kind) -> Known:
        """The latest look of a kind."""
        return self._known.get(kind, Known(looking=kind in self.kinds))

    def of(self, kind: Kind, form: type[F]) -> F | None:
        """The value of the latest look that succeeded; None: none did, or it is too old to say anything."""
        known = self.known(kind)
        if is_old(kind, known, datetime.now(UTC)):
            return None
        return known.value if isinstance(known.value, form) else None

    def request(self, kind: Kind) -> bool:
        """Have a look made now, or right after the one that goes on. Returns false if no such look is made here."""
        if kind not in self._wanted:
            return False
        self._wanted[kind].set()
        return True

    def look_once(self, kind: Kind) -> None:
        """Make a look now."""
        before = self.known(kind)
        self._put(kind, Known(before.value, before.at, before.error, True, before.took))
        began, at = time.monotonic(), datetime.now(UTC)
        try:
            found = self._look(kind)
        except Exception as error:
            if not isinstance(error, ScsError):
                logging.getLogger("scs").exception("a look of the page failed")
            after = Known(before.value, before.at, str(explained(error)), False, time.monotonic() - began)
        else:
            after = Known(found, at, "", False, time.monotonic() - began)
        if not self._over.is_set():
            self._put(kind, after)

    def _put(self, kind: Kind, known: Known) -> None:
        self._known[kind] = known
        self._tell(kind.value)

    def _follow(self, kind: Kind, number: int) -> None:
        wanted = self._wanted[kind]
        # in the order of their importance
        self._over.wait(number * 0.05)
        while not self._over.is_set():
            wanted.clear()
            with self._slots:
                if not self._over.is_set():
                    self.look_once(kind)
            wanted.wait(rest(INTERVALS[kind], self.known(kind).took))
