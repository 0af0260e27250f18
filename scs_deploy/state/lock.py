# SPDX-License-Identifier: Apache-2.0
"""One run at a time per region: a lock that the kernel releases when its holder dies, and a fencing token."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ValidationError

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.state import process

SETTLE = 1.0
"""Seconds after which a holder has certainly written its name, and a process that only looked has released the lock."""


POLL = 1.0
"""Seconds between two attempts of a process that waits."""


class Holder(BaseModel, frozen=True):
    """The holder of a lock. `token` grows with every holder, so an older holder is recognised as stale."""

    owner: str
    pid: int
    host: str
    since: datetime
    command: str
    token: int

    def __str__(self) -> str:
        return f"{self.owner} (pid {self.pid}, `{self.command}`) since {self.since:%Y-%m-%d %H:%M:%S} UTC"


FILE = "lock"


def region_lock(environment: Environment, command: str | None = None) -> RunLock:
    """`with region_lock(environment) as lock:` - the lock that a run holds while it changes a region.

    :param command: see RunLock
    :raises RefusedError: this user may not change the region
    """
    sharing.check_may_change(environment)
    return RunLock(environment.state / FILE, command)


@contextmanager
def awaited_lock(
    environment: Environment, tell: Callable[[Holder | None], None], patience: float | None = None
) -> Iterator[RunLock]:
    """`with awaited_lock(environment, tell) as lock:` - the region's lock, after the run that holds it has ended.

    :param tell: called once, if it must wait
    :param patience: seconds to wait; None: until it is free
    :raises RefusedError: this user may not change the region, or another run holds it for longer
    """
    lock = region_lock(environment)
    deadline = None if patience is None else time.monotonic() + patience
    told = False
    while True:
        try:
            lock.acquire()
            break
        except RefusedError:
            if deadline is not None and time.monotonic() >= deadline:
                raise
            if not told:
                tell(holder(lock.path))
            told = True
            time.sleep(POLL)
    try:
        yield lock
    finally:
        lock.release()


def is_ours(environment: Environment) -> bool:
    """Whether this process holds the region's lock."""
    found = holder(environment.state / FILE)
    return found is not None and (found.pid, found.host) == (os.getpid(), process.host())


class RunLock:
    """`with RunLock(path) as lock:` - holds the lock until the block ends.

    :param path: the lock file; its folder is created if missing
    :param command: named in the error message of other processes; default: this process's command line
    """

    def __init__(self, path: Path, command: str | None = None) -> None:
        self.path = path
        self.command = command or " ".join(["scs", *map(shlex.quote, sys.argv[1:])])
        self.token = 0
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        :raises RefusedError: another process has it; the message says which and since when
        """
        sharing.make_folder(self.path.parent)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait(fd)
            self.token = _next_token(self.path)
            holder = Holder(
                owner=process.owner(), pid=os.getpid(), host=process.host(), since=datetime.now(UTC),
                command=self.command, token=self.token,
            )  # fmt: skip
            _write(fd, holder.model_dump_json().encode())
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _wait(self, fd: int) -> None:
        deadline = time.monotonic() + SETTLE
        while not _try(fd, fcntl.LOCK_EX):
            holder = _read(self.path)
            dead = holder and holder.host == process.host() and not process.alive(holder.pid)
            if (holder is None or dead) and time.monotonic() < deadline:
                time.sleep(0.02)  # the holder has not written its name yet, or another process is looking
                continue
            who = f"by {holder}" if holder else "by another process"
            raise RefusedError(
                f"region {self.path.parent.parent.name} is locked {who}", "wait for that run, or end it and try again"
            )

    def check(self) -> None:
        """Check that this process still holds the lock, before a step that cannot be undone.

        :raises ScsError: the file was removed or replaced, or another process got the lock
        """
        if self._fd is None:
            raise ScsError(f"{self.path}: the lock is not held")
        try:
            same = os.path.samestat(os.fstat(self._fd), self.path.stat())
        except FileNotFoundError:
            same = False
        if not same or _token(self.path) != self.token:
            raise ScsError(f"{self.path}: this run (token {self.token}) lost the region's lock", "see: scs runs list")

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        if self._fd is None:
            return
        os.ftruncate(self._fd, 0)
        # unlock by name: a forked child may still have the file open
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = None

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(path: Path) -> Holder | None:
    """The current holder of the lock, or None. Changes nothing."""
    return _read(path) if is_held(path) else None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock. Changes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def left_behind(path: Path) -> Holder | None:
    """Who held the lock last, if that process ended without releasing it; only for a lock that nobody holds."""
    return _read(path)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Holder | None:
    try:
        return Holder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(fd: int, content: bytes) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
    os.fsync(fd)


def _token(path: Path) -> int:
    try:
        return int(json.loads(path.with_name(path.name + ".token").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0


def _next_token(path: Path) -> int:
    """Increment the token in its file. Only the holder calls this."""
    token = _token(path) + 1
    target = path.with_name(path.name + ".token")
    temporary = target.with_name(target.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"{token}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    return token
