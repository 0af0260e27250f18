# SPDX-License-Identifier: Apache-2.0
"""What a host sends to the log stores: every line of its containers once, whatever the engine does with its files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from log_containers import Containers
from log_journal import Journal
from log_lines import Reading, fields

from scs_deploy.desired import resolve
from tests.conftest import dummy_region
from tests.support.peer_hosts import eventually

REQUEST = "req-7db7fb16-fc02-4505-82df-54b210c649ac"
OUTER = "req-11111111-fc02-4505-82df-54b210c649ac"


class Engine:
    """The directory of an engine's containers, as its json-file logging driver keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "containers"
        self.folder.mkdir()
        self.number = 0

    def create(self, name: str, labels: dict[str, str] | None = None) -> str:
        self.number += 1
        identifier = f"{self.number:064x}"
        own = {"scs.container": name, "scs.service": name.partition("_")[0]} if labels is None else labels
        (self.folder / identifier).mkdir()
        described = {"Name": f"/{name}", "Config": {"Labels": own, "Env": ["SECRET=none of the log's business"]}}
        (self.folder / identifier / "config.v2.json").write_text(json.dumps(described))
        self.log(identifier).touch()
        return identifier

    def log(self, identifier: str, suffix: str = "") -> Path:
        return self.folder / identifier / f"{identifier}-json.log{suffix}"

    def write(self, identifier: str, *texts: str, end: str = "\n") -> None:
        with self.log(identifier).open("a") as stream:
            for text in texts:
                entry = {"log": text + end, "stream": "stderr", "time": "2026-12-01T06:50:14.732000001Z"}
                stream.write(json.dumps(entry) + "\n")

    def rotate(self, identifier: str) -> None:
        if (older := self.log(identifier, ".1")).exists():
            older.rename(self.log(identifier, ".2"))
        self.log(identifier).rename(self.log(identifier, ".1"))
        self.log(identifier).touch()

    def remove(self, identifier: str) -> None:
        shutil.rmtree(self.folder / identifier)


def test_every_host_sends_to_every_store() -> None:
    region = dummy_region("testbed-ha")
    for host in ("ha-1", "ha-3"):
        files = resolve.resolve(region, host, {"log_shipper"}).files.values()
        settings = json.loads(next(f.content for f in files if f.name == "shipper.json"))
        assert settings["stores"] == {"ha-1": ["172.30.2.11", 9428], "ha-2": ["172.30.2.12", 9428]}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def take(found: Containers, rounds: int = 4, number: int = 100) -> list[str]:
    """The texts of what is sent in some rounds, all of which arrives."""
    texts = []
    for _ in range(rounds):
        texts += [row["_msg"] for row in found.read(number)]
        found.confirm()
    return texts


def test_a_line_says_whose_it_is(engine: Engine) -> None:
    engine.write(
        engine.create("nova_api"), f"2026-12-01 06:50:14.732 8 WARNING nova.api [None {REQUEST} u1 p1 - -] slow"
    )
    engine.write(engine.create("someones", labels={}), "not managed by scs")
    (row,) = Containers(str(engine.folder), {}).read(100)
    assert row == {
        "_time": "2026-12-01T06:50:14.732000001Z", "container": "nova_api", "service": "nova", "level": "warning",
        "logger": "nova.api", "request_id": REQUEST, "user": "u1", "project": "p1",
        "_msg": f"2026-12-01 06:50:14.732 8 WARNING nova.api [None {REQUEST} u1 p1 - -] slow",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("WSGI app 0 ready in 5 seconds", {"level": "info"}),
        ("2026-12-01  6:50:00 33 [Warning] Aborted connection 33", {"level": "warning"}),
        (
            f"2026-12-01 06:50:14.732 8 ERROR nova.compute [{OUTER} {REQUEST} - - - -] [instance: "
            "fc7d6a94-9f92-4ab9-a643-e3b4e1f3ea2a] no",
            {
                "level": "error", "logger": "nova.compute", "request_id": REQUEST, "global_request_id": OUTER,
                "server": "fc7d6a94-9f92-4ab9-a643-e3b4e1f3ea2a",
            },
        ),
        (f'10.0.0.1 "GET /v3" 200 {REQUEST}', {"level": "info", "request_id": REQUEST}),
        ("req-7db7fb16 is none", {"level": "info"}),
    ],
)  # fmt: skip
def test_fields(text: str, found: dict[str, str]) -> None:
    assert fields(text, Reading()) == found


def test_a_traceback_has_the_level_of_its_error(engine: Engine) -> None:
    engine.write(
        engine.create("nova_api"), "2026-12-01 06:50:14.732 8 ERROR nova.api [-] broken",
        "Traceback (most recent call last):", '  File "api.py", line 7, in get', "ValueError: seven", "next",
    )  # fmt: skip
    assert [row["level"] for row in Containers(str(engine.folder), {}).read(100)] == ["error"] * 4 + ["info"]


def test_nothing_is_lost_when_files_are_rotated(engine: Engine) -> None:
    api = engine.create("nova_api")
    engine.write(api, "one", "two")
    found = Containers(str(engine.folder), {})
    assert take(found) == ["one", "two"]
    engine.write(api, "three")
    engine.rotate(api)
    engine.write(api, "four")
    engine.rotate(api)
    engine.write(api, "five")
    assert take(found) == ["three", "four", "five"]
    assert take(found) == []


def test_what_a_container_wrote_before_it_was_removed_is_sent(engine: Engine) -> None:
    """A job that runs for a moment, and one that a run replaces."""
    api = engine.create("nova_api")
    found = Containers(str(engine.folder), {})
    assert take(found) == []
    engine.write(api, "last words")
    engine.remove(api)
    assert take(found) == ["last words"]
    assert found.positions() == {}


def test_another_process_goes_on_where_the_first_one_was(engine: Engine) -> None:
    api, compute = engine.create("nova_api"), engine.create("nova_compute")
    engine.write(api, "one")
    engine.write(compute, "1")
    first = Containers(str(engine.folder), {})
    assert sorted(take(first)) == ["1", "one"]
    engine.write(api, "two")
    engine.rotate(api)
    engine.write(api, "three")
    engine.write(compute, "2")
    assert sorted(take(Containers(str(engine.folder), first.positions()))) == ["2", "three", "two"]


def test_what_did_not_arrive_is_sent_again(engine: Engine) -> None:
    api = engine.create("nova_api")
    engine.write(api, "one", "two")
    found = Containers(str(engine.folder), {})
    assert [row["_msg"] for row in found.read(1)] == ["one"]
    found.rewind()
    engine.rotate(api)
    engine.write(api, "three")
    assert take(found) == ["one", "two", "three"]


def test_a_line_that_is_not_complete_waits_for_its_end(engine: Engine) -> None:
    api = engine.create("nova_api")
    # the engine divides long lines, and writes an entry in more than one piece
    engine.write(api, "a" * 16384, end="")
    found = Containers(str(engine.folder), {})
    assert take(found) == []
    engine.write(api, "and its end")
    with engine.log(api).open("a") as stream:
        stream.write('{"log":"next\\n","stream":"stderr",')
    assert take(found) == ["a" * 16384 + "and its end"]
    with engine.log(api).open("a") as stream:
        stream.write('"time":"2026-12-01T06:50:15Z"}\n')
    assert take(found) == ["next"]


def test_damage_is_passed_over(engine: Engine) -> None:
    api = engine.create("nova_api")
    engine.write(api, "one")
    with engine.log(api).open("a") as stream:
        stream.write('{"log":"cut by a full di\n\x00\x00\n[]\n{"log":"no time\\n"}\n')
    engine.write(api, "two", "", "   ", "three\rx")
    found = Containers(str(engine.folder), {})
    assert take(found) == ["one", "two", "three\rx"]
    os.truncate(engine.log(api), 0)
    take(found)
    engine.write(api, "four")
    assert take(found) == ["four"]


def test_endless_lines_are_divided(engine: Engine) -> None:
    api = engine.create("nova_api")
    for _ in range(200):
        engine.write(api, "b" * 16384, end="")
    engine.write(api, "end")
    engine.write(api, "next")
    texts = take(Containers(str(engine.folder), {}), rounds=10)
    assert "".join(texts[:-1]) == "b" * 16384 * 200 + "end"
    assert texts[-1] == "next"
    assert max(map(len, texts)) <= 1 << 20


def test_one_that_writes_much_holds_up_no_other(engine: Engine) -> None:
    loud, quiet = engine.create("nova_api"), engine.create("keystone")
    engine.write(loud, *(str(n) for n in range(1000)))
    engine.write(quiet, "quiet")
    assert "quiet" in [row["_msg"] for row in Containers(str(engine.folder), {}).read(20)]


JOURNALCTL = r"""#!/bin/sh
# follows a file as journalctl follows a journal
for word; do case $word in --after-cursor=*) cursor=${word#*=};; --since=*) echo "$word" >> "$ASKED";; esac; done
exec tail --lines=+$(( ${cursor:-0} + 1 )) --follow "$JOURNAL"
"""


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "journalctl").write_text(JOURNALCTL)
    (tmp_path / "journalctl").chmod(0o755)
    (tmp_path / "journal" / "machine").mkdir(parents=True)
    (tmp_path / "entries").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("JOURNAL", str(tmp_path / "entries"))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    return tmp_path / "entries"


def entry(cursor: int, message: Any, **fields: str) -> str:
    return json.dumps(
        {"__CURSOR": str(cursor), "__REALTIME_TIMESTAMP": "1764571814732000", "MESSAGE": message, **fields}
    )


def journal_rows(found: Journal, number: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []

    def enough() -> bool:
        rows.extend(found.read(number - len(rows)))
        return len(rows) >= number

    eventually(enough)
    return rows


def test_the_journal_is_followed_from_the_last_line_that_arrived(entries: Path, tmp_path: Path) -> None:
    folders = [str(tmp_path / "missing"), str(tmp_path / "journal")]
    unit = {"_SYSTEMD_UNIT": "ssh.service", "SYSLOG_IDENTIFIER": "sshd", "PRIORITY": "3"}
    text = [entry(1, "refused", **unit), entry(2, list("größe".encode()), SYSLOG_IDENTIFIER="kernel")]
    entries.write_text("\n".join(text) + "\n")
    found = Journal(folders, "")
    try:
        first, second = journal_rows(found, 2)
        assert first == {
            "_time": "2025-12-01T06:50:14.732000Z", "service": "ssh.service", "level": "error", "program": "sshd",
            "_msg": "refused",
        }  # fmt: skip
        assert (second["service"], second["_msg"], second["level"]) == ("kernel", "größe", "info")
        found.rewind()
        assert [row["_msg"] for row in journal_rows(found, 2)] == ["refused", "größe"]
        assert found.confirm()
        with entries.open("a") as stream:
            stream.write(entry(3, "three") + "\n")
        assert [row["_msg"] for row in journal_rows(found, 1)] == ["three"]
        assert found.position() == "2"
    finally:
        found.rewind()
    again = Journal(folders, "2")
    assert [row["_msg"] for row in journal_rows(again, 1)] == ["three"]
    again.rewind()
    assert (tmp_path / "asked").read_text().split() == ["--since=-1day"] * 2


def test_a_host_without_a_journal_sends_its_containers(tmp_path: Path) -> None:
    assert list(Journal([str(tmp_path / "missing")], "").read(10)) == []
