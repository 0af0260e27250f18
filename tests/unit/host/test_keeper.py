# SPDX-License-Identifier: Apache-2.0
"""The keeper starts what ended without scs, and remembers every exit with its cause."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base import paths
from tests.support import fake_engine
from tests.support.fake_engine import FakeEngine
from tests.support.peer_hosts import eventually

KEPT = 20
PROGRAM = paths.layer("host") / "roles" / "keeper" / "files" / "scs_keeper.py"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine.serving(tmp_path) as served:
        yield served


@pytest.fixture(autouse=True)
def keeper(tmp_path: Path, engine: FakeEngine) -> Iterator[None]:
    """The program, at work on a host whose folders are the test's."""
    program = PROGRAM.read_text(encoding="utf-8")
    for old, new in (("/var/run/docker.sock", engine.socket), ("/var/lib/scs", tmp_path),
                     ("/run/scs-engine.lock", tmp_path / "lock")):  # fmt: skip
        program = program.replace(f'"{old}', f'"{new}')
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        # it looks for what ended before, then reads events
        assert engine.listening.wait(10) and engine.listed.wait(10)
        yield
        process.kill()


def exits(folder: Path, name: str) -> list[dict[str, Any]]:
    file = folder / "exits" / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def ends(engine: FakeEngine, name: str, code: int, signal: int = 0, oom: bool = False) -> None:
    engine.states[name] = {"Status": "exited"}
    if signal:
        engine.happen("kill", name, signal=str(signal))
    if oom:
        engine.happen("oom", name)
    engine.happen("die", name, exitCode=str(code))


def test_a_killed_container_is_started_and_remembered(engine: FakeEngine, tmp_path: Path) -> None:
    ends(engine, "keystone", 137, signal=9)
    eventually(lambda: engine.started == ["keystone"])
    eventually(lambda: bool(exits(tmp_path, "keystone")) and exits(tmp_path, "keystone")[0]["restarted"])
    (found,) = exits(tmp_path, "keystone")
    assert (found["code"], found["signal"], found["oom"], found["scs"]) == (137, 9, False, False)
    ends(engine, "keystone", 137, oom=True)
    eventually(lambda: len(exits(tmp_path, "keystone")) == 2)
    last = exits(tmp_path, "keystone")[1]
    assert (last["signal"], last["oom"]) == (0, True)


def test_what_ends_during_a_run_is_its_doing(engine: FakeEngine, tmp_path: Path) -> None:
    """Also what ends while the keeper still waits for the module: it reads that event late."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ends(engine, "keystone", 0, signal=15)
        eventually(lambda: len(exits(tmp_path, "keystone")) == 1)
        ends(engine, "nova_api", 0, signal=15)
        # the module started them again
        engine.states.clear()
    eventually(lambda: len(exits(tmp_path, "nova_api")) == 1)
    assert [exits(tmp_path, name)[0]["scs"] for name in ("keystone", "nova_api")] == [True, True]
    ends(engine, "nova_api", 1)
    eventually(lambda: len(exits(tmp_path, "nova_api")) == 2)
    assert not exits(tmp_path, "nova_api")[1]["scs"]


def test_a_stopped_container_stays_stopped(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "keystone").touch()
    ends(engine, "keystone", 0)
    eventually(lambda: len(exits(tmp_path, "keystone")) == 1)
    ends(engine, "nova_api", 1)
    eventually(lambda: engine.started == ["nova_api"])


def test_a_replaced_container_stays_ended(engine: FakeEngine) -> None:
    """Also when the run that replaced it was interrupted, and nobody removed it."""
    engine.states["haproxy"] = {"Status": "running"}
    ends(engine, "haproxy_leaving", 0)
    ends(engine, "keystone", 137, signal=9)
    eventually(lambda: engine.started == ["keystone"])
    # without a successor, it is all that there is
    del engine.states["haproxy"]
    engine.happen("die", "haproxy_leaving", exitCode="0")
    eventually(lambda: engine.started == ["keystone", "haproxy_leaving"])


def test_the_record_stays_small(engine: FakeEngine, tmp_path: Path) -> None:
    for number in range(KEPT + 5):
        ends(engine, "keystone", number)
    eventually(lambda: [e["code"] for e in exits(tmp_path, "keystone")][-1:] == [KEPT + 4])
    assert len(exits(tmp_path, "keystone")) == KEPT


def test_a_full_disk_keeps_no_container_from_being_started(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "exits").touch()
    ends(engine, "keystone", 1)
    eventually(lambda: engine.started == ["keystone"])
