# SPDX-License-Identifier: Apache-2.0
"""Reading the records writes nothing, and a log that cannot be written disturbs nobody."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.state import journal, schema
from scs_deploy.state.runs import RunStore


def test_reading_creates_nothing(tmp_path: Path) -> None:
    with RunStore(tmp_path / "state" / "runs.sqlite3", reading=True) as store:
        assert store.list() == []
    assert list(tmp_path.iterdir()) == []


def test_records_of_an_earlier_scs_are_read_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite3"
    with RunStore(file) as store, store.start("scs apply").recording():
        pass
    with sqlite3.connect(file) as db:
        db.execute("DROP TABLE plans")
        db.execute("DROP TABLE hosts")
        db.execute("ALTER TABLE runs DROP COLUMN details")
        db.execute(f"PRAGMA user_version = {len(schema.STEPS) - 2}")
    db.close()
    before = file.read_bytes()
    with RunStore(file, reading=True) as store:
        (run,) = store.list()
        assert store.planned(run.id) == []
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["runs.sqlite3"]


def test_what_a_running_process_wrote_is_read(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite3"
    with RunStore(file) as writer:
        record = writer.start("scs apply")
        with RunStore(file, reading=True) as store:
            assert [run.id for run in store.list()] == [record.id]
        record.finish()


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite3"
    file.write_bytes(b"no database" * 100)
    with pytest.raises(ScsError, match=r"runs\.sqlite3: .*not a database"):
        RunStore(file, reading=True)


def test_a_log_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").write_text("a file, no folder")
    log = journal.Log(tmp_path / "state" / "scs.log")
    log.handle(logging.makeLogRecord({"msg": "lost"}))
    (tmp_path / "state").unlink()
    (tmp_path / "state" / "scs.log").mkdir(parents=True)
    log.handle(logging.makeLogRecord({"msg": "lost"}))
    assert capfd.readouterr() == ("", "")
