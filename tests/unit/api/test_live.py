# SPDX-License-Identifier: Apache-2.0
"""Looks in the background, live events, and that a view keeps no run from writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from scs_deploy.api.facts import Answers, Kind
from scs_deploy.api.knowledge import INTERVALS, Knowledge, Known, is_old, rest, result
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.region.region import Region
from scs_deploy.state.runs import RunStore, Status, run_store
from tests.support import page_site
from tests.support.page_site import Running


def events(page: Running, session: requests.Session, stop: threading.Event, found: list[str]) -> None:
    with session.get(page.url + "/events", stream=True, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines(chunk_size=1):
            found.append(line.decode())
            if stop.is_set():
                return


@pytest.fixture
def live(region: Region) -> Iterator[Running]:
    with page_site.serving(region, {}) as running:
        yield running


def wait_for(what: str, found: list[str]) -> None:
    deadline = time.monotonic() + 15
    while not any(what in line for line in found):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_an_open_page_follows_a_run_and_does_not_slow_it_down(live: Running, region: Region) -> None:
    found: list[str] = []
    stop = threading.Event()
    sessions = [live.operator() for _ in range(5)]
    watchers = [threading.Thread(target=events, args=(live, s, stop, found), daemon=True) for s in sessions]
    for watcher in watchers:
        watcher.start()
    wait_for("retry:", found)
    readers_end = threading.Event()
    session = live.operator()
    longest = 0.0
    with run_store(region.environment) as store:
        record = store.start("scs apply keystone", changes_total=100)
        reading = threading.Thread(target=_read_on, args=(live, record.id, readers_end), daemon=True)
        reading.start()
        for number in range(100):
            began = time.monotonic()
            step = record.step_started(f"Task {number}", host="control-1")
            record.step_finished(step, changes_done=1)
            longest = max(longest, time.monotonic() - began)
        wait_for('"runs"', found)
        text = live.get(session, f"/runs/{record.id}").text
        assert 'value="100"' in text and "Task 99" in text and "running" in text
        readers_end.set()
        reading.join(20)
        record.finish(Status.DONE)
        wait_for('"ended"', found)
        assert "</span> done</span>" in live.get(session, f"/runs/{record.id}").text
        _forget(store, record.id)
    # writing waits for the disk, and for nobody who reads
    assert longest < 2.0
    stop.set()


def _forget(store: RunStore, run: str) -> None:
    """Other tests look at the latest run."""
    for table, key in (("hosts", "run"), ("steps", "run"), ("runs", "id")):
        store.execute(f"DELETE FROM {table} WHERE {key} = ?", run)


def _read_on(page: Running, run: str, end: threading.Event) -> None:
    session = page.operator()
    while not end.is_set():
        assert page.get(session, f"/runs/{run}").status_code == 200


def test_the_end_of_the_page_ends_its_streams(region: Region) -> None:
    found: list[str] = []
    with page_site.serving(region, {}) as page:
        watcher = threading.Thread(target=events, args=(page, page.operator(), threading.Event(), found), daemon=True)
        watcher.start()
        wait_for("retry:", found)
        began = time.monotonic()
    assert time.monotonic() - began < 6
    watcher.join(5)
    assert not watcher.is_alive()


def test_a_stream_ends_with_its_session(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scs_deploy.api.hub.BEAT", 0.2)
    session = live.operator()
    with session.get(live.url + "/events", stream=True, timeout=10) as answer:
        lines = answer.iter_lines(chunk_size=1)
        assert next(lines) == b"retry: 3000"
        live.post(session, "/logout")
        assert list(lines)[-1:] in ([b""], [b": "], [])


def test_refresh_has_a_look_made(region: Region) -> None:
    with page_site.serving(region, {}) as page:
        page.site.knowledge.start()
        session = page.operator()
        deadline = time.monotonic() + 15
        while page.looks.count(Kind.PLAN) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = page.looks.count(Kind.PLAN)
        done = page.post(session, "/refresh", what="plan", next="/plan")
        assert (done.status_code, done.headers["location"]) == (303, "/plan")
        while page.looks.count(Kind.PLAN) == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert page.post(session, "/refresh", what="leaf").status_code == 404
        assert page.post(session, "/refresh", what="nosuch").status_code == 404


def test_a_slow_look_rests_longer_and_keeps_no_page_waiting(region: Region) -> None:
    gate = threading.Event()

    def look(kind: Kind) -> Model:
        if kind is not Kind.PLAN or not page_started.is_set():
            raise ScsError("not now")
        gate.wait(20)
        raise ScsError("late")

    page_started = threading.Event()
    with page_site.serving(region, look) as page:
        page_started.set()
        page.site.knowledge.start()
        session = page.operator()
        assert page.get(session, "/plan").elapsed.total_seconds() < 1.5
        gate.set()
    assert rest(60, 2) == 58
    assert rest(60, 30) == 150


def test_a_failed_look_keeps_what_was_known_until_it_is_old() -> None:
    found: list[Model | ScsError] = [Answers(reasons={"compute": ""}), ScsError("no route", "scs status")]
    told: list[str] = []

    def look(_kind: Kind) -> Model:
        one = found.pop(0)
        if isinstance(one, ScsError):
            raise one
        return one

    knowledge = Knowledge(look, [Kind.ANSWERS], told.append)
    assert knowledge.of(Kind.ANSWERS, Answers) is None
    knowledge.look_once(Kind.ANSWERS)
    knowledge.look_once(Kind.ANSWERS)
    known = knowledge.known(Kind.ANSWERS)
    assert known.error == "no route (scs status)"
    assert knowledge.of(Kind.ANSWERS, Answers) == Answers(reasons={"compute": ""})
    assert told == ["answers"] * 4
    now = datetime.now(UTC)
    old = Known(known.value, now - timedelta(seconds=INTERVALS[Kind.ANSWERS] * 6))
    assert is_old(Kind.ANSWERS, old, now) and not is_old(Kind.ANSWERS, known, now)


def test_what_a_look_prints() -> None:
    assert result(Kind.ANSWERS, '{"value": {"reasons": {"a": ""}}}', "") == Answers(reasons={"a": ""})
    with pytest.raises(ScsError, match="no host"):
        result(Kind.ANSWERS, '{"error": "no host", "hint": ""}', "")
    with pytest.raises(ScsError, match="ended without a result: Killed"):
        result(Kind.ANSWERS, "", "Traceback\nKilled\n")


def test_a_description_with_an_error_is_told_and_the_last_good_one_shown(region: Region, tmp_path: Path) -> None:
    with page_site.serving(region, {}) as page:
        file = region.environment.file
        good = file.read_text(encoding="utf-8")
        try:
            file.write_text("release: [\n", encoding="utf-8")
            page.site.watched.reload()
            answer = page.get(page.operator(), "/hosts")
            assert "environment.yml:" in answer.text and "control-1" in answer.text
        finally:
            file.write_text(good, encoding="utf-8")
        page.site.watched.reload()
        assert "environment.yml:" not in page.get(page.operator(), "/hosts").text
