# SPDX-License-Identifier: Apache-2.0
"""What was run in a region, step by step: SQLite in the state folder, written as it happens."""

from __future__ import annotations

import builtins
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import PausedError, RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.version import version
from scs_deploy.environment.environment import Environment
from scs_deploy.state import lock, process, schema
from scs_deploy.state.measurement import Summary, together

EPOCH = 1577836800  # 2020-01-01, so that nine characters last for a thousand years
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
MESSAGE_LIMIT = 4000


class Status(StrEnum):
    """How a run or a step stands."""

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
    """jobs that it ran; None: recorded by an scs that did not keep them"""

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
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
    """1, and one more each time that it was resumed"""
    resume: str = ""
    """the operation's request, JSON; empty: it cannot be resumed"""
    operation: str = ""
    """what was done, e.g. `apply`; empty: a run of an older scs"""
    repeat: str = ""
    """why it is repeated instead of resumed; empty: see `resume`"""
    scs: str = ""
    """version that began it; empty: an older one"""
    follows: bool = False
    """the region is as `inputs` say once the run is done: so after an apply, not after a restart"""
    before: str = ""
    """`inputs` that the region followed before; empty: not known"""
    revisions: str = ""
    """of the databases' schemas when it began, JSON; empty: not known"""
    changing: bool = True
    """false: it leaves the region as it is, as a backup does"""

    @property
    def seconds(self) -> float | None:
        """How long it took; None when its end is not known."""
        return (self.finished - self.started).total_seconds() if self.finished else None


class RunStore:
    """The records of one region. Safe for several processes and threads.

    :param path: the database, see `run_store`; made when missing
    :raises ScsError: it cannot be opened
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._guard = threading.RLock()
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            schema.migrate(self._db)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def start(
        self, command: str, *, changes_total: int = 0, inputs: str = "", inventory: str = "",
        secrets: Iterable[str] = (), resume: str = "", revisions: str = "", changing: bool = True,
        operation: str = "", repeat: str = "", follows: bool = False,
    ) -> RunRecord:  # fmt: skip
        """Begin a record for this process.

        :param inputs: hash of all that the run goes by
        :param inventory: hash of the inventory that it goes by
        :param revisions: of the databases' schemas, JSON
        :param resume: the operation's request, to go on after an interruption, JSON; empty: it is repeated instead
        :param operation: what is done, e.g. `apply`
        :param repeat: one line: why it is repeated instead of resumed
        :param secrets: values that are masked should a message hold one
        :param changing: whether it is to change the region
        :param follows: whether the region is as `inputs` say once the run is done
        """
        self._settle()
        mask = _secrets(secrets)
        # of the last run that had the region follow them: a restart is done with inputs that nothing follows yet
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
        """Go on with a run's record as this process: another attempt, whose steps follow those of the last.

        :param changes_left: changes that are still to do
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

    def abandon(self, run: Run) -> None:
        """Note that nobody will resume a run."""
        self.execute(
            "UPDATE runs SET status = ?, message = message || ? WHERE id = ?",
            Status.ABANDONED, f"{'; ' if run.message else ''}abandoned by {process.owner()}", run.id,
        )  # fmt: skip

    def list(self, limit: int = 20, changing: bool = False) -> list[Run]:
        """The latest runs, newest first.

        :param changing: without those that leave the region as it is
        """
        rows = self.execute("SELECT * FROM runs WHERE changing >= ? ORDER BY id DESC LIMIT ?", changing, limit)
        holder = lock.holder(self.path.with_name(lock.FILE))
        return [_judge(Run.model_validate(dict(r)), holder) for r in rows]

    def get(self, run: str | None = None, changing: bool = False) -> Run:
        """One run by its id; the latest when none is given.

        :param changing: the latest that does not leave the region as it is
        :raises RefusedError: there is no such run
        """
        if run is None:
            found = self.list(1, changing)
            if not found:
                raise RefusedError("no run was recorded in this region yet", "scs apply")
            return found[0]
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
        """host: the newest run that ended well and did something there."""
        rows = self.execute(
            "SELECT s.host, MAX(r.id) AS run FROM steps s JOIN runs r ON r.id = s.run "
            "WHERE r.status = ? AND r.finished IS NOT NULL AND s.host != '' GROUP BY s.host",
            Status.DONE,
        )
        runs = {run: self.get(run) for run in {row["run"] for row in rows}}
        return {row["host"]: runs[row["run"]] for row in rows}

    def probes(self, run: str) -> builtins.list[Summary]:
        """What the prober saw during a run, or during its last attempt when it was resumed."""
        rows = self.execute(
            "SELECT summaries FROM probes WHERE run = ? AND attempt = (SELECT attempt FROM runs WHERE id = ?)", run, run
        )
        return [Summary.model_validate(s) for r in rows for s in json.loads(r["summaries"])]

    def execute(self, statement: str, *values: Any) -> builtins.list[sqlite3.Row]:
        """One statement in a transaction of its own.

        :raises ScsError: the database cannot be read or written, e.g. because the disk is full
        """
        try:
            with self._guard:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> ScsError:
        return ScsError(f"{self.path}: {error}", "check the disk that holds it: space, mount options, rights")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self) -> None:
        """Write down what `list` concludes: runs whose process is gone were interrupted."""
        holder = lock.holder(self.path.with_name(lock.FILE))
        for row in self.execute("SELECT * FROM runs WHERE status = ?", Status.RUNNING):
            run = _judge(Run.model_validate(dict(row)), holder)
            if run.status is Status.INTERRUPTED:
                self.execute("UPDATE runs SET status = ? WHERE id = ?", Status.INTERRUPTED, run.id)


FILE = "runs.sqlite3"


def run_store(environment: Environment) -> RunStore:
    """`with run_store(environment) as store:` - the records of a region."""
    return RunStore(environment.state / FILE)


class RunRecord:
    """The record of the run that this process is doing."""

    def __init__(self, store: RunStore, run: str, mask: tuple[str, ...] = (), sequence: int = 0) -> None:
        self.id = run
        self._store = store
        self._mask = mask
        self._sequence = sequence
        self._guard = threading.Lock()

    def step_started(
        self, task: str, *, phase: str = "", host: str = "", subject: str = "", jobs: Sequence[str] = ()
    ) -> int:
        """Note that a task begins on a host; returns its number for `step_finished`.

        :param jobs: that it runs: what a rollback must know
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
        """Note how a step ended, and how many of the plan's changes it finished."""
        self._store.execute(
            "UPDATE steps SET status = ?, finished = ?, message = ? WHERE run = ? AND sequence = ?",
            Status(status), _now(), _mask(message, self._mask), self.id, sequence,
        )  # fmt: skip
        if changes_done:
            self._store.execute("UPDATE runs SET changes_done = changes_done + ? WHERE id = ?", changes_done, self.id)

    def measuring(self) -> Callable[[Iterable[Summary]], None]:
        """Begin to note what one prober sees; call it with all that it has seen so far.

        A run may be measured by several probers, one after the other: what the earlier ones saw is added.
        """
        before = self._store.probes(self.id)

        def measured(summaries: Iterable[Summary]) -> None:
            self._store.execute(
                "INSERT OR REPLACE INTO probes SELECT id, attempt, ? FROM runs WHERE id = ?",
                json.dumps([s.model_dump() for s in together(before, summaries)]), self.id,
            )  # fmt: skip

        return measured

    def expect(self, more: int) -> None:
        """Note that so many more changes are to be done."""
        self._store.execute("UPDATE runs SET changes_total = changes_total + ? WHERE id = ?", more, self.id)

    def mask(self, secrets: Iterable[str]) -> None:
        """Mask these values, too, from here on: they were made during the run."""
        self._mask = _secrets({*self._mask, *secrets})

    def masked(self, text: str) -> str:
        """The text without the values that the record masks."""
        return _hide(text, self._mask)

    def finish(self, status: Status | str = Status.DONE, message: str = "") -> None:
        """End the record; steps still open take the run's status."""
        now = _now()
        self._store.execute(
            "UPDATE steps SET status = ?, finished = ? WHERE run = ? AND status = ?",
            Status(status), now, self.id, Status.RUNNING,
        )  # fmt: skip
        self._store.execute(
            "UPDATE runs SET status = ?, finished = ?, message = ? WHERE id = ?",
            Status(status), now, _mask(message, self._mask), self.id,
        )  # fmt: skip

    @contextmanager
    def recording(self) -> Iterator[RunRecord]:
        """`with store.start(...).recording() as run:` - the record ends as the block does, whatever happens."""
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


def _judge(run: Run, holder: lock.Holder | None) -> Run:
    """A record cannot tell that its process died: ask for the process here, for the lock's holder elsewhere."""
    if run.status is not Status.RUNNING:
        return run
    if run.host == process.host():
        lives = process.alive(run.pid, run.process)
    else:
        lives = holder is not None and (holder.host, holder.pid) == (run.host, run.pid)
    return run if lives else run.model_copy(update={"status": Status.INTERRUPTED})


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
