# SPDX-License-Identifier: Apache-2.0
"""`scs status CONTAINER` says why a container restarted; ssh is a script here that carries out what a host would."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from scs_deploy.base.errors import ScsError
from scs_deploy.cli import _history
from scs_deploy.cli import status as command
from scs_deploy.engine import history as asking
from scs_deploy.observed.history import Cause, History
from scs_deploy.state.runs import run_store
from tests.support import fake_engine, node_modules
from tests.support.fake_engine import FakeEngine

SSH = """#!/bin/sh
for last; do :; done
case "$*" in *down*) echo "ssh: connect to host down port 22: No route to host" >&2; exit 255;; esac
eval "$last"
"""

HEALTH = {
    "Status": "healthy",
    "Log": [{"Start": "2026-11-28T04:00:00.1+01:00", "End": "2026-11-28T04:00:01.123456789+01:00", "ExitCode": 1,
             "Output": "connection refused\\n"}],
}  # fmt: skip
RUNNING = {
    "Status": "running", "StartedAt": "2026-11-28T03:00:05.123456789Z", "FinishedAt": "0001-01-01T00:00:00Z",
    "ExitCode": 0, "OOMKilled": False, "Error": "", "Health": HEALTH,
}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine.serving(tmp_path) as served:
        served.states["keystone"] = dict(RUNNING)
        yield served


@pytest.fixture
def environment(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A region whose hosts have the test's engine and folder."""
    program = asking.PROGRAM.read_text(encoding="utf-8")
    for old, new in (("/var/run/docker.sock", engine.socket), ("/var/lib/scs/exits", tmp_path / "exits")):
        program = program.replace(old, str(new))
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(asking, "PROGRAM", tmp_path / "program.py")
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "exits").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    settings = SimpleNamespace(ssh=SimpleNamespace(user="root"))
    return SimpleNamespace(
        ssh_key=Path("key"), known_hosts="known", settings=settings, state=tmp_path, name="berlin", path=tmp_path,
        secrets_file=tmp_path / "secrets.yml",
    )  # fmt: skip


def host(name: str) -> Any:
    return SimpleNamespace(name=name, address=name, connection={})


def recorded(folder: Path, *found: dict[str, Any]) -> None:
    base = {"code": 0, "signal": 0, "oom": False, "scs": False, "restarted": False}
    (folder / "exits" / "keystone").write_text("".join(json.dumps({**base, **f}) + "\n" for f in found))


def ask(environment: Any) -> History:
    (found,) = asking.ask(environment, "keystone", [host("control-1")])
    return found


def shown(found: History, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(_history.view([found], width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_causes_of_exits(environment: Any, tmp_path: Path) -> None:
    recorded(
        tmp_path,
        {"time": 1795834800.0, "code": 137, "signal": 9, "restarted": True},
        {"time": 1795834900.0, "code": 137, "oom": True},
        {"time": 1795835000.0, "code": 1},
        {"time": 1795835100.0, "code": 139},
        {"time": 1795835200.0, "code": 137},
        {"time": 1795835300.0, "scs": True, "signal": 15},
    )
    found = ask(environment)
    assert [(e.cause, e.code, e.signal) for e in found.exits] == [
        (Cause.SCS, 0, 15), (Cause.UNKNOWN, 137, 9), (Cause.ITSELF, 139, 11), (Cause.ITSELF, 1, 0),
        (Cause.MEMORY, 137, 9), (Cause.ENGINE, 137, 9),
    ]  # fmt: skip
    assert [e.restarted for e in found.exits][-1]
    lines = [line.split() for line in shown(found).splitlines()]
    assert ["2026-11-28", "03:00:00", "137", "SIGKILL", "engine", "keeper"] in [[*line] for line in lines]
    assert ["2026-11-28", "03:01:40", "137", "SIGKILL", "out", "of", "memory"] in lines
    assert ["2026-11-28", "03:05:00", "139", "SIGSEGV", "itself"] in lines


def test_a_container_as_it_is(environment: Any) -> None:
    said = shown(ask(environment))
    assert "control-1/keystone running since 2026-11-28 03:00:05 UTC, healthy" in said
    assert f"image {fake_engine.IMAGE}" in said
    assert "2026-11-28 03:00:01     1  connection refused" in said
    assert "no exit is known" in said


def test_an_exit_that_scs_caused_names_the_run(environment: Any, tmp_path: Path) -> None:
    with run_store(environment) as store:
        record = store.start("scs restart keystone", operation="restart")
        step = record.step_started("Restart", phase="roll", host="control-1", subject="keystone")
        now = datetime.now(UTC).timestamp()
        record.step_finished(step)
        record.finish()
    recorded(tmp_path, {"time": now, "scs": True, "signal": 15}, {"time": now - 3600, "scs": True, "signal": 15})
    found = ask(environment)
    assert [(e.cause, e.run) for e in found.exits] == [(Cause.SCS, record.id), (Cause.SCS, "")]
    assert f"run {record.id}" in shown(found)


def test_without_a_record_the_engine_is_asked(environment: Any, engine: FakeEngine) -> None:
    """A host whose keeper is of an earlier scs: the engine's events, and what the inspect remembers."""
    engine.restarts = 3
    engine.states["keystone"] |= {"FinishedAt": "2026-11-28T03:00:04.9Z"}
    engine.happen("kill", "keystone", signal="9")
    engine.happen("die", "keystone", exitCode="137")
    found = ask(environment)
    assert [(e.cause, e.code, e.signal) for e in found.exits if e.code] == [(Cause.UNKNOWN, 137, 9)]
    assert [e.time.isoformat()[:19] for e in found.exits if e.code is None] == ["2026-11-28T03:00:04"]
    assert "3 restarts by the engine" in shown(found)


def test_an_exit_is_told_once(environment: Any, engine: FakeEngine, tmp_path: Path) -> None:
    at = engine.happen("die", "keystone", exitCode="1")
    finished = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    engine.states["keystone"] |= {"Status": "exited", "FinishedAt": finished, "ExitCode": 1, "OOMKilled": False}
    recorded(tmp_path, {"time": at, "code": 1})
    found = ask(environment)
    assert (found.state, len(found.exits)) == ("exited", 1)


def test_a_missing_container_keeps_its_history(environment: Any, engine: FakeEngine, tmp_path: Path) -> None:
    engine.states.clear()
    recorded(tmp_path, {"time": 1795834800.0, "code": 1})
    found = ask(environment)
    assert (found.state, found.exits[0].code) == ("missing", 1)


def test_names_are_whole_at_sixty_columns(environment: Any, tmp_path: Path) -> None:
    recorded(tmp_path, {"time": 1795834800.0, "code": 137, "signal": 9, "restarted": True})
    said = shown(ask(environment), 60)
    assert all(len(line) <= 60 for line in said.splitlines())
    for word in ("control-1/keystone", "2026-11-28 03:00:00", "SIGKILL", "engine"):
        assert word in said


def test_errors_name_the_host(environment: Any, engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ScsError, match=r"down \(down\): unreachable over SSH: ssh: connect"):
        asking.ask(environment, "keystone", [host("down")])
    engine.socket.unlink()
    with pytest.raises(ScsError, match="control-1: no Docker engine answers on this host"):
        ask(environment)


def test_json_has_the_history_of_the_container_only(environment: Any, tmp_path: Path) -> None:
    recorded(tmp_path, {"time": 1795834800.0, "code": 137, "signal": 9})
    found = asking.ask(environment, "keystone", [host("control-1")])
    states = [{"host": "control-1", "container": "keystone"}, {"host": "control-1", "container": "nova_api"}]
    first, second = command._with_histories(states, found)
    assert first["history"]["exits"][0] | {"time": ""} == {
        "time": "", "code": 137, "signal": 9, "oom": False, "cause": "engine", "run": "", "restarted": False,
    }  # fmt: skip
    assert "history" not in second


def test_restarts_count_what_the_engine_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = node_modules.load(monkeypatch, "observe")
    monkeypatch.setattr(module, "EXITS", str(tmp_path / "exits"))
    assert module.unplanned("keystone", "2026-11-28T02:00:00.123456789Z") == 0
    (tmp_path / "exits").mkdir()
    recorded(tmp_path, {"time": 1795800000.0}, {"time": 1795834800.0}, {"time": 1795834900.0, "scs": True},
             {"time": 1795835000.0})  # fmt: skip
    assert module.unplanned("keystone", "2026-11-28T02:00:00.123456789Z") == 2
