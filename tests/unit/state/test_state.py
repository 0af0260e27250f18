# SPDX-License-Identifier: Apache-2.0
"""Locks and run records, with real processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.state import lock, process
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore, Status


def child(code: str) -> subprocess.Popen[str]:
    """A process that runs `code`, prints a line when it is ready, and waits for its end."""
    code = textwrap.dedent(code) + "\nprint('ready', flush=True)\nimport signal; signal.pause()\n"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert started.stdout and started.stdout.readline() == "ready\n"
    return started


def end(started: subprocess.Popen[str]) -> None:
    started.send_signal(signal.SIGKILL)
    started.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "testbed" / "state" / "lock"


def hold(path: Path) -> subprocess.Popen[str]:
    return child(f"""
        from pathlib import Path
        from scs_deploy.state.lock import RunLock
        held = RunLock(Path({str(path)!r}), "scs apply")
        held.acquire()
    """)


OLD = """
CREATE TABLE runs (
  id TEXT PRIMARY KEY, command TEXT NOT NULL, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
  process INTEGER, started TEXT NOT NULL, finished TEXT, status TEXT NOT NULL, changes_total INTEGER NOT NULL,
  changes_done INTEGER NOT NULL, inputs TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE steps (
  run TEXT NOT NULL REFERENCES runs(id), sequence INTEGER NOT NULL, phase TEXT NOT NULL, task TEXT NOT NULL,
  host TEXT NOT NULL, subject TEXT NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
  message TEXT NOT NULL, PRIMARY KEY (run, sequence)) WITHOUT ROWID;
INSERT INTO runs VALUES ('05aaaaaaa', 'scs apply', 'me@here', 'here', 1, 1, '2026-01-01T00:00:00Z',
  '2026-01-01T00:01:00Z', 'done', 3, 3, 'abc', '');
INSERT INTO steps VALUES ('05aaaaaaa', 1, 'roll', 'Create keystone', 'a', '', 'done', '2026-01-01T00:00:00Z',
  '2026-01-01T00:00:30Z', '');
"""


def test_records_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "runs.sqlite3")) as db:
        db.executescript(OLD)
    for _ in range(2):
        store = RunStore(tmp_path / "runs.sqlite3")
        assert [(r.id, r.status, r.seconds) for r in store.list()][-1] == ("05aaaaaaa", Status.DONE, 60)
        assert [(s.seconds, s.jobs) for s in store.steps("05aaaaaaa")] == [(30, None)]
        record = store.start("scs apply")
        record.step_started("task", jobs=("keystone.db_expand",))
        record.finish()
        assert [s.jobs for s in store.steps(record.id)] == [("keystone.db_expand",)]
        store.close()
    assert len(RunStore(tmp_path / "runs.sqlite3").list()) == 3


def test_records_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "runs.sqlite3")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RefusedError, match="have version 99"):
        RunStore(tmp_path / "runs.sqlite3")


def test_second_holder_is_refused_and_told_who(path: Path) -> None:
    other = hold(path)
    try:
        with pytest.raises(RefusedError) as error, RunLock(path):
            pass
        assert "region testbed is locked by" in error.value.message
        assert f"(pid {other.pid}, `scs apply`) since 2" in error.value.message
        seen = lock.holder(path)
        assert seen and seen.pid == other.pid
    finally:
        end(other)


def test_killed_holder_leaves_no_lock_and_tokens_grow(path: Path) -> None:
    other = hold(path)
    first = lock.holder(path)
    end(other)
    assert lock.holder(path) is None
    with RunLock(path, "scs plan") as held:
        assert first and held.token == first.token + 1
        held.check()
    with RunLock(path) as held:
        assert held.token == first.token + 2


def test_stale_holder_notices(path: Path) -> None:
    with RunLock(path) as old:
        path.unlink()
        with RunLock(path) as new:
            new.check()
            with pytest.raises(ScsError, match="lost the region's lock"):
                old.check()


def test_forked_child_does_not_keep_the_lock(path: Path) -> None:
    held = RunLock(path)
    held.acquire()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    held.release()
    with RunLock(path):
        pass
    os.close(write)
    os.waitpid(pid, 0)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "state" / "runs.sqlite3")


def test_record_of_a_run(store: RunStore) -> None:
    run = store.start("scs apply", changes_total=2, inputs="abc")
    number = run.step_started("replace containers", phase="roll", host="testbed-1", subject="keystone")
    assert store.get().status is Status.RUNNING
    run.step_finished(number, Status.DONE, "healthy", changes_done=1)
    open_step = run.step_started("verify", phase="verify", host="testbed-1")
    run.finish(Status.FAILED, "no answer")
    found = store.get(run.id)
    assert (found.status, found.changes_done, found.changes_total, found.message) == (Status.FAILED, 1, 2, "no answer")
    assert found.seconds is not None and found.seconds >= 0
    steps = store.steps(run.id)
    assert [s.status for s in steps] == [Status.DONE, Status.FAILED]
    assert steps[1].sequence == open_step
    assert store.path.stat().st_mode & 0o077 == 0


def test_runs_sort_by_time_and_are_limited(store: RunStore) -> None:
    ids = [store.start(f"scs {i}").id for i in range(5)]
    assert ids == sorted(ids) and len(set(ids)) == 5
    assert [r.id for r in store.list(2)] == [ids[4], ids[3]]


def test_dead_process_shows_as_interrupted(store: RunStore) -> None:
    other = child(f"""
        from pathlib import Path
        from scs_deploy.state.runs import RunStore
        run = RunStore(Path({str(store.path)!r})).start("scs apply")
        run.step_started("pull", host="testbed-1")
    """)
    assert store.get().status is Status.RUNNING
    end(other)
    run = store.get()
    assert run.status is Status.INTERRUPTED
    assert [s.status for s in store.steps(run.id)] == [Status.INTERRUPTED]
    store.start("scs apply")
    assert [r["status"] for r in store.execute("SELECT status FROM runs ORDER BY id")] == ["interrupted", "running"]


def test_reused_pid_is_not_the_same_process() -> None:
    mine = process.started(os.getpid())
    assert mine and process.alive(os.getpid(), mine)
    assert not process.alive(os.getpid(), mine - 1)


def test_recording_ends_as_the_block_does(store: RunStore) -> None:
    for error, status in ((KeyboardInterrupt, "interrupted"), (RefusedError, "refused"), (ScsError, "failed")):
        with pytest.raises(error), store.start("scs apply").recording():
            raise error("why")
        assert store.get().status == status
    with store.start("scs apply").recording():
        pass
    assert store.get().status == "done"


def test_no_secret_is_kept(store: RunStore) -> None:
    run = store.start("scs apply hunter2secret", secrets=["hunter2secret"])
    number = run.step_started("task", subject="hunter2secret")
    run.step_finished(number, Status.FAILED, "pw=hunter2secret")
    run.finish(Status.FAILED, "hunter2secret was wrong")
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"hunter2" not in store.path.read_bytes()


def test_unknown_run_is_refused(store: RunStore) -> None:
    with pytest.raises(RefusedError, match="no run 'x'"):
        store.get("x")
    with pytest.raises(RefusedError, match="no run was recorded"):
        store.get()
