# SPDX-License-Identifier: Apache-2.0
"""What grows with every run stays within its bounds, and costs no more to read after a thousand runs."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from scs_deploy.base.model import Model
from scs_deploy.engine import execute
from scs_deploy.environment.environment import Environment, Keep
from scs_deploy.state import growth, schema
from scs_deploy.state.journal import log_file, logging_to
from scs_deploy.state.runs import RunStore, Status
from scs_deploy.state.trimming import trim
from tests.unit.secrets.test_secrets import region

RUNS, STEPS = 1000, 30


class Change(Model):
    """Stands for a change of a plan."""

    host: str
    kind: str
    service: str
    subject: str


def filled(path: Path, runs: int) -> None:
    """Records of an earlier scs, which kept every step."""
    with closing(sqlite3.connect(path)) as db:
        for number, step in enumerate(schema.STEPS[:-1], 1):
            db.executescript(step)
            db.execute(f"PRAGMA user_version = {number}")
        for run in range(runs):
            name = f"0{run:08}"
            db.execute(
                "INSERT INTO runs (id, command, owner, host, pid, process, started, finished, status, changes_total, "
                "changes_done, inputs, message, follows) VALUES (?, 'scs apply', 'me@here', 'here', 1, 1, "
                "'2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', 'done', 1, 1, 'x', '', 1)",
                (name,),
            )
            db.executemany(
                "INSERT INTO steps VALUES (?, ?, 'roll', 'Create', ?, 'keystone', 'done', '2026-01-01T00:00:00Z', "
                "'2026-01-01T00:00:01Z', ?, '[]')",
                # the host `old` has not changed since the first run
                [(name, n, "old" if run == 0 else f"h{n % 3}", "said " * 40) for n in range(STEPS)],
            )
        db.commit()


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "runs.sqlite3"
    filled(path, RUNS)
    return path


@pytest.fixture
def store(thousand: Path, tmp_path: Path) -> Iterator[RunStore]:
    (tmp_path / "runs.sqlite3").write_bytes(thousand.read_bytes())
    with RunStore(tmp_path / "runs.sqlite3") as made:
        yield made


def cost(store: RunStore, read: Callable[[], object]) -> int:
    """What SQLite does for it, in hundreds of instructions of its virtual machine."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    store._db.set_progress_handler(tick, 100)
    read()
    store._db.set_progress_handler(None, 0)
    return count


def test_after_a_thousand_runs_reading_costs_what_it_did_after_ten(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "ten").mkdir()
    filled(tmp_path / "ten" / "runs.sqlite3", 10)
    with RunStore(tmp_path / "ten" / "runs.sqlite3") as small:
        for read in (lambda s: s.last_done(), lambda s: s.list(10), lambda s: s.get()):
            assert cost(store, lambda read=read: read(store)) <= cost(small, lambda read=read: read(small)) + 5  # type: ignore[misc]


def test_an_earlier_databases_last_runs_are_kept_when_it_shrinks(store: RunStore) -> None:
    before = store.path.stat().st_size
    done = {"old": "000000000", **{f"h{n}": "000000999" for n in range(3)}}
    assert {host: run.id for host, run in store.last_done().items()} == done
    trim(store, 100, 50)
    assert {host: run.id for host, run in store.last_done().items()} == done
    kept = store.list(RUNS)
    assert [r.id for r in kept] == [*(f"0{n:08}" for n in range(999, 899, -1)), "000000000"]
    assert [len(store.steps(r.id)) for r in kept] == [STEPS] * 50 + [0] * 51
    assert [r.details for r in kept] == [True] * 50 + [False] * 51
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert store.path.stat().st_size < before / 10
    assert cost(store, lambda: trim(store, 100, 50)) < 20, "the next time, there is nothing to do"


def test_a_run_in_progress_stays_whole(tmp_path: Path) -> None:
    with RunStore(tmp_path / "runs.sqlite3") as store:
        running = store.start("scs apply")
        running.step_finished(running.step_started("Create", host="a"))
        for _ in range(5):
            with store.start("scs backup create", changing=False).recording():
                pass
        trim(store, 1, 1)
        assert [r.status for r in store.list()] == [Status.DONE, Status.RUNNING]
        assert len(store.steps(running.id)) == 1
        running.finish()
        assert store.last_done()["a"].id == running.id


def test_a_plan_stays_with_its_record(tmp_path: Path) -> None:
    with RunStore(tmp_path / "runs.sqlite3") as store:
        for host in "abc":
            with store.start("scs apply").recording() as record:
                record.plan([Change(host=host, kind="create", service="keystone", subject="keystone")])
                record.step_finished(record.step_started("Create", host=host))
        first = store.list()[-1]
        trim(store, 10, 1)
        assert store.steps(first.id) == []
        assert [c["host"] for c in store.planned(first.id)] == ["a"]


def test_bounds_that_a_rollback_could_not_work_with_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"run_details: a rollback .* at least 60"):
        Keep(snapshots=60, run_details=50)
    with pytest.raises(ValidationError, match="runs: expected at least run_details, 300"):
        Keep(runs=200, run_details=300)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    made.state.mkdir()
    keep = made.settings.model_copy(update={"keep": Keep(log_mib=1)})
    return made.model_copy(update={"settings": keep})


def test_a_large_log_is_set_aside_once(environment: Environment) -> None:
    for text in ("first", "second"):
        log_file(environment).write_text(text * (1 << 18))
        with logging_to(environment):
            logging.getLogger("scs").error("third")
    with logging_to(environment):
        logging.getLogger("scs").error("fourth")
    assert sorted(f.name for f in environment.state.glob("scs.log*")) == ["scs.log", "scs.log.1"]
    assert log_file(environment).with_name("scs.log.1").read_text().startswith("second")
    assert [line.split()[-1] for line in log_file(environment).read_text().splitlines()] == ["third", "fourth"]


def test_files_of_earlier_runs_go_but_never_this_runs(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name / "1").mkdir(parents=True)
    execute._forget_old(tmp_path / "a", 2)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "d", "e"]


def test_sizes_name_what_grows(environment: Environment) -> None:
    assert growth.sizes(environment) == {}
    (environment.state / "runs" / "x").mkdir(parents=True)
    (environment.state / "runs" / "x" / "playbook.yml").write_bytes(b"x" * 100_000)
    log_file(environment).write_text("x")
    found = growth.sizes(environment)
    assert set(found) == {"run files", "log"}
    assert 100_000 <= found["run files"] < 200_000
