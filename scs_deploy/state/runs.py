# SPDX-License-Identifier: Apache-2.0
"""The records of a region's runs, step by step: an SQLite database in the state folder, written during the run."""

from __future__ import annotations

import builtins
import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import PausedError, RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.version import version
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.state import lock, process, schema
from scs_deploy.state.measurement import Summary, together
from scs_deploy.state.reading import copy_of as reading_copy

EPOCH = 1577836800  # 2020-01-01, so that nine characters last for a thousand years
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
MESSAGE_LIMIT = 4000
DENIED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
"""SQLite's results when rights are missing."""


class Status(StrEnum):
    """The status of a run or a step."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    PAUSED = "paused"
    ABANDONED = "abandoned"


class Step(Model):
    """One task on one host."""

    run: str
    sequence: int
    phase: str
    task: str
    host: str
    subject: str
    status: Status
    started: datetime
    finished: datetime | None
    message: str
    jobs: tuple[str, ...] | None = None
    """jobs that it ran; None: an older scs recorded it, without jobs"""

    @property
    def seconds(self) -> float | None:
        """Its duration; None while it runs."""
        return (self.finished - self.started).total_seconds() if self.finished else None


class Run(Model):
    """One execution of a command that changes a region."""

    id: str
    command: str
    owner: str
    host: str
    pid: int
    process: int | None
    started: datetime
    finished: datetime | None
    status: Status
    changes_total: int
    changes_done: int
    inputs: str
    message: str
    inventory: str = ""
    attempt: int = 1
    """1, plus the number of times that it was resumed"""
    resume: str = ""
    """the operation's request, JSON; empty: it cannot be resumed"""
    operation: str = ""
    """name of the operation, e.g. `apply`; empty: a run of an older scs"""
    repeat: str = ""
    """why the command is repeated instead of resumed; empty: see `resume`"""
    scs: str = ""
    """version of scs that started it; empty: an older one"""
    follows: bool = False
    """whether the region matches `inputs` once the run is done: true for an apply, false for a restart"""
    before: str = ""
    """`inputs` that the region matched before; empty: unknown"""
    revisions: str = ""
    """of the databases' schemas at the start, JSON; empty: unknown"""
    changing: bool = True
    """false: it does not change the region, e.g. a backup"""
    details: bool = True
    """false: its steps were removed, see `keep.run_details` of the environment"""

    @property
    def seconds(self) -> float | None:
        """Its duration; None if its end is unknown."""
        return (self.finished - self.started).total_seconds() if self.finished else None


class RunStore:
    """The records of one region. Safe for several processes and threads.

    :param path: the database, see `run_store`; created if missing
    :param reading: show what is recorded now, and write nothing, not even a missing database
    :raises ScsError: it cannot be opened
    """

    def __init__(self, path: Path, reading: bool = False) -> None:
        self.path = path
        self._guard = threading.RLock()
        try:
            self._db = reading_copy(path) if reading else _opened(path)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._db.row_factory = sqlite3.Row

    def start(
        self, command: str, *, changes_total: int = 0, inputs: str = "", inventory: str = "",
        secrets: Iterable[str] = (), resume: str = "", revisions: str = "", changing: bool = True,
        operation: str = "", repeat: str = "", follows: bool = False,
    ) -> RunRecord:  # fmt: skip
        """Start a record for this process.

        :param inputs: hash of the run's inputs
        :param inventory: hash of the inventory
        :param revisions: of the databases' schemas, JSON
        :param resume: the operation's request, JSON, to resume it after an interruption; empty: it cannot be resumed
        :param operation: name of the operation, e.g. `apply`
        :param repeat: why the command is repeated instead of resumed, one line
        :param secrets: values to mask in messages
        :param changing: whether the run changes the region
        :param follows: whether the region matches `inputs` once the run is done
        """
        self._settle()
        mask = _secrets(secrets)
        # only of a run that made the region match them: a restart uses inputs that may not be applied yet
        before = self.execute(
            "SELECT inputs FROM runs WHERE status = ? AND follows ORDER BY id DESC LIMIT 1", Status.DONE
        )
        number = int((time.time() - EPOCH) * 1000)
        while True:
            run = _encode(number)
            try:
                self.execute(
                    "INSERT INTO runs (id, command, owner, host, pid, process, started, status, changes_total, inputs, "
                    "inventory, resume, revisions, before, changing, operation, repeat, follows, scs, changes_done, "
                    "message) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,'')",
                    run, _mask(command, mask), process.owner(), process.host(), os.getpid(),
                    process.started(os.getpid()), _now(), Status.RUNNING, changes_total, inputs, inventory,
                    resume, revisions, before[0]["inputs"] if before else "", changing, operation, repeat, follows,
                    version(),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                number += 1
                continue
            return RunRecord(self, run, mask)

    def resume(self, run: Run, *, changes_left: int, secrets: Iterable[str] = ()) -> RunRecord:
        """Continue a run's record as this process: a new attempt, whose steps follow those of the last one.

        :param changes_left: number of remaining changes
        """
        self._settle()
        self.execute(
            "UPDATE steps SET status = ? WHERE run = ? AND status = ?", Status.INTERRUPTED, run.id, Status.RUNNING
        )
        self.execute(
            "UPDATE runs SET owner = ?, host = ?, pid = ?, process = ?, status = ?, finished = NULL, message = '', "
            "attempt = attempt + 1, changes_total = changes_done + ? WHERE id = ?",
            process.owner(), process.host(), os.getpid(), process.started(os.getpid()), Status.RUNNING,
            changes_left, run.id,
        )  # fmt: skip
        last = self.execute("SELECT MAX(sequence) AS last FROM steps WHERE run = ?", run.id)[0]["last"]
        return RunRecord(self, run.id, _secrets(secrets), last or 0)

    def planned(self, run: str) -> builtins.list[dict[str, Any]]:
        """The changes of a run's plan, as `scs plan --json` prints them; those of all its attempts.

        Empty for a run without a plan of changes, e.g. a backup, or of an earlier scs.
        """
        changes = _unpacked(self.execute("SELECT changes FROM plans WHERE run = ? ORDER BY attempt", run))
        # an attempt plans again what is left of the one before
        return [*{(c["host"], c["kind"], c["service"], c["subject"]): c for c in changes}.values()]

    def abandon(self, run: Run) -> None:
        """Record that a run will not be resumed."""
        self.execute(
            "UPDATE runs SET status = ?, message = message || ? WHERE id = ?",
            Status.ABANDONED, f"{'; ' if run.message else ''}abandoned by {process.owner()}", run.id,
        )  # fmt: skip

    def list(self, limit: int = 20, changing: bool = False, since: datetime | None = None) -> list[Run]:
        """The latest runs, newest first.

        :param changing: only runs that change the region
        :param since: only runs that started then or later
        """
        first = "" if since is None else _encode(max(0, int((since.timestamp() - EPOCH) * 1000)))
        rows = self.execute(
            "SELECT * FROM runs WHERE changing >= ? AND id >= ? ORDER BY id DESC LIMIT ?", changing, first, limit
        )
        holder = lock.holder(self.path.with_name(lock.FILE))
        return [_judge(Run.model_validate(dict(r)), holder) for r in rows]

    def get(self, run: str | None = None, changing: bool = False) -> Run:
        """A run by its id; by default the latest.

        :param changing: the latest run that changes the region
        :raises RefusedError: no such run
        """
        if run is None:
            runs = self.list(1, changing)
            if not runs:
                raise RefusedError("no run was recorded in this region yet", "scs apply")
            return runs[0]
        rows = self.execute("SELECT * FROM runs WHERE id = ?", run)
        if not rows:
            raise RefusedError(f"no run '{run}'", "scs runs list")
        return _judge(Run.model_validate(dict(rows[0])), lock.holder(self.path.with_name(lock.FILE)))

    def steps(self, run: str) -> builtins.list[Step]:
        """A run's steps in order; those that a dead run left open count as interrupted."""
        rows = self.execute("SELECT * FROM steps WHERE run = ? ORDER BY sequence", run)
        steps = [Step.model_validate({**r, "jobs": json.loads(r["jobs"] or "null")}) for r in rows]
        if self.get(run).status is Status.RUNNING:
            return steps
        return [s.model_copy(update={"status": Status.INTERRUPTED}) if s.status is Status.RUNNING else s for s in steps]

    def last_done(self) -> dict[str, Run]:
        """Each host's latest successful run with steps on it."""
        rows = self.execute("SELECT host, run FROM hosts")
        runs = {run: self.get(run) for run in {row["run"] for row in rows}}
        return {row["host"]: runs[row["run"]] for row in rows}

    def _done(self, run: str) -> None:
        """Record the hosts of a run that succeeded."""
        self.execute(
            "INSERT INTO hosts SELECT DISTINCT host, run FROM steps WHERE run = ? AND host != '' "
            "AND EXISTS (SELECT 1 FROM runs WHERE id = ? AND status = ? AND finished IS NOT NULL) "
            "ON CONFLICT (host) DO UPDATE SET run = excluded.run WHERE excluded.run > run",
            run, run, Status.DONE,
        )  # fmt: skip

    def probes(self, run: str) -> builtins.list[Summary]:
        """The prober's results of a run; of its last attempt if it was resumed."""
        rows = self.execute(
            "SELECT summaries FROM probes WHERE run = ? AND attempt = (SELECT attempt FROM runs WHERE id = ?)", run, run
        )
        return [Summary.model_validate(s) for r in rows for s in json.loads(r["summaries"])]

    def execute(self, statement: str, *values: Any) -> builtins.list[sqlite3.Row]:
        """Execute a statement, in its own transaction unless `transaction` has begun one.

        :param values: of its parameters, or one mapping of them by name

        :raises ScsError: the database cannot be read or written, e.g. because the disk is full
        """
        named = values[0] if values and isinstance(values[0], dict) else values
        try:
            with self._guard:
                return self._db.execute(statement, named).fetchall()
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """`with store.transaction():` - all of the block's statements take effect, or none."""
        with self._guard:
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.execute("ROLLBACK")
                raise
            self.execute("COMMIT")

    def _failed(self, error: sqlite3.Error) -> ScsError:
        # the low byte is the kind of error: https://www.sqlite.org/rescode.html
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in DENIED and os.geteuid():
            return RefusedError(f"{self.path}: {error}", "run scs as the user that owns the region, or with sudo")
        return ScsError(f"{self.path}: {error}", "check the disk that holds it: space, mount options, rights")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self) -> None:
        """Record what `list` concludes: runs whose process no longer exists were interrupted."""
        holder = lock.holder(self.path.with_name(lock.FILE))
        for row in self.execute("SELECT * FROM runs WHERE status = ?", Status.RUNNING):
            run = _judge(Run.model_validate(dict(row)), holder)
            if run.status is Status.INTERRUPTED:
                self.execute("UPDATE runs SET status = ? WHERE id = ?", Status.INTERRUPTED, run.id)


FILE = "runs.sqlite3"


def run_store(environment: Environment) -> RunStore:
    """`with run_store(environment) as store:` - the records of a region, to add to them."""
    return RunStore(environment.state / FILE)


def recorded(environment: Environment) -> RunStore:
    """`with recorded(environment) as store:` - the records of a region as they are now, for any user who may read."""
    return RunStore(environment.state / FILE, reading=True)


def _opened(path: Path) -> sqlite3.Connection:
    sharing.make_folder(path.parent)
    if not path.exists():
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        # SQLite gives the files of its log the same mode
        os.fchmod(descriptor, sharing.file_mode(path.parent))
        os.close(descriptor)
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    schema.migrate(db)
    return db


class RunRecord:
    """The record of this process's run."""

    def __init__(self, store: RunStore, run: str, mask: tuple[str, ...] = (), sequence: int = 0) -> None:
        self.id = run
        self._store = store
        self._mask = mask
        self._sequence = sequence
        self._guard = threading.Lock()

    def step_started(
        self, task: str, *, phase: str = "", host: str = "", subject: str = "", jobs: Sequence[str] = ()
    ) -> int:
        """Record that a task starts on a host; returns its number for `step_finished`.

        :param jobs: the jobs that it runs, which a rollback must know
        """
        with self._guard:
            self._sequence += 1
            number = self._sequence
        self._store.execute(
            "INSERT INTO steps (run, sequence, phase, task, host, subject, status, started, jobs, message) "
            "VALUES (?,?,?,?,?,?,?,?,?,'')",
            self.id, number, phase, _mask(task, self._mask), host, _mask(subject, self._mask), Status.RUNNING, _now(),
            json.dumps(list(jobs)),
        )  # fmt: skip
        return number

    def step_finished(
        self, sequence: int, status: Status | str = Status.DONE, message: str = "", changes_done: int = 0
    ) -> None:
        """Record how a step ended, and how many of the plan's changes it completed."""
        self._store.execute(
            "UPDATE steps SET status = ?, finished = ?, message = ? WHERE run = ? AND sequence = ?",
            Status(status), _now(), _mask(message, self._mask), self.id, sequence,
        )  # fmt: skip
        if changes_done:
            self._store.execute("UPDATE runs SET changes_done = changes_done + ? WHERE id = ?", changes_done, self.id)

    def measuring(self) -> Callable[[Iterable[Summary]], None]:
        """Returns a function that records all results of one prober so far.

        Several probers may measure a run, one after the other: the results of the earlier ones are added.
        """
        before = self._store.probes(self.id)

        def measured(summaries: Iterable[Summary]) -> None:
            self._store.execute(
                "INSERT OR REPLACE INTO probes SELECT id, attempt, ? FROM runs WHERE id = ?",
                json.dumps([s.model_dump() for s in together(before, summaries)]), self.id,
            )  # fmt: skip

        return measured

    def plan(self, changes: Iterable[Model]) -> None:
        """Store what this attempt is to change; changes that an earlier part of the attempt planned stay."""
        rows = self._store.execute(
            "SELECT changes FROM plans WHERE run = ? AND attempt = (SELECT attempt FROM runs WHERE id = ?)",
            self.id, self.id,
        )  # fmt: skip
        planned = (c.model_dump(mode="json", exclude_defaults=True) for c in changes)
        text = json.dumps([*_unpacked(rows), *planned])
        self._store.execute(
            "INSERT OR REPLACE INTO plans SELECT id, attempt, ? FROM runs WHERE id = ?",
            zlib.compress(_hide(text, tuple(json.dumps(s)[1:-1] for s in self._mask)).encode()), self.id,
        )  # fmt: skip

    def expect(self, more: int) -> None:
        """Add to the number of expected changes."""
        self._store.execute("UPDATE runs SET changes_total = changes_total + ? WHERE id = ?", more, self.id)

    def mask(self, secrets: Iterable[str]) -> None:
        """Mask further values from now on: secrets that were generated during the run."""
        self._mask = _secrets({*self._mask, *secrets})

    def masked(self, text: str) -> str:
        """A text in which the record's secrets are masked."""
        return _hide(text, self._mask)

    def finish(self, status: Status | str = Status.DONE, message: str = "") -> None:
        """End the record; unfinished steps get the run's status."""
        now = _now()
        self._store.execute(
            "UPDATE steps SET status = ?, finished = ? WHERE run = ? AND status = ?",
            Status(status), now, self.id, Status.RUNNING,
        )  # fmt: skip
        self._store.execute(
            "UPDATE runs SET status = ?, finished = ?, message = ? WHERE id = ?",
            Status(status), now, _mask(message, self._mask), self.id,
        )  # fmt: skip
        self._store._done(self.id)

    @contextmanager
    def recording(self) -> Iterator[RunRecord]:
        """`with store.start(...).recording() as run:` - the record ends with the block's outcome."""
        try:
            yield self
        except KeyboardInterrupt:
            self.finish(Status.INTERRUPTED, "interrupted by the operator")
            raise
        except PausedError as error:
            self.finish(Status.PAUSED, error.message)
            raise
        except RefusedError as error:
            self.finish(Status.REFUSED, str(error))
            raise
        except BaseException as error:
            self.finish(Status.FAILED, str(error) or type(error).__name__)
            raise
        else:
            self._store.execute(
                "UPDATE runs SET status = ?, finished = ? WHERE id = ? AND status = ?",
                Status.DONE, _now(), self.id, Status.RUNNING,
            )  # fmt: skip
            self._store._done(self.id)


def _judge(run: Run, holder: lock.Holder | None) -> Run:
    """A record does not show that its process died: check the process on this machine, elsewhere the lock's holder."""
    if run.status is not Status.RUNNING:
        return run
    if run.host == process.host():
        lives = process.alive(run.pid, run.process)
    else:
        lives = holder is not None and (holder.host, holder.pid) == (run.host, run.pid)
    return run if lives else run.model_copy(update={"status": Status.INTERRUPTED})


def _unpacked(rows: Iterable[sqlite3.Row]) -> builtins.list[dict[str, Any]]:
    """The changes in rows of the table `plans`."""
    return [change for row in rows for change in json.loads(zlib.decompress(row["changes"]))]


def _secrets(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted((s for s in values if len(s) >= 4), key=len, reverse=True))


def _mask(text: str, secrets: tuple[str, ...]) -> str:
    return _hide(text, secrets)[:MESSAGE_LIMIT]


def _hide(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _encode(number: int) -> str:
    text = ""
    for _ in range(9):
        number, digit = divmod(number, 32)
        text = DIGITS[digit] + text
    return text
