# SPDX-License-Identifier: Apache-2.0
"""A container that starts leaves the processors to those that serve: the module against a real engine."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit import node_modules
from tests.unit.live_haproxy import IMAGE, docker, needs_haproxy
from tests.unit.peer_hosts import eventually

pytestmark = needs_haproxy


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return node_modules.containers(monkeypatch, tmp_path)


@pytest.fixture
def name() -> Iterator[str]:
    name = f"scs-test-share-{uuid.uuid4().hex[:8]}"
    yield name
    docker("rm", "--force", name)


def part(module: ModuleType, name: str) -> float:
    """Of the usual share, that a container has; 0: it does not run yet."""
    pid = docker("ps", "--quiet", "--filter", f"name=^{name}$") and docker(
        "inspect", "--format", "{{.State.Pid}}", name
    )
    for file in module.share._files(int(pid or 0)):
        return int(Path(file).read_text()) / int(module.share.USUAL[Path(file).name])
    return 0.0


def spec(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Of a container that is healthy as soon as the test says so."""
    body = {
        "Image": IMAGE,
        "Cmd": ["sleep", "600"],
        "HostConfig": {"NetworkMode": "none", "Binds": [f"{folder}:/said"]},
    }
    return {
        "container": name, "action": "create", "directories": {}, "volumes": {}, "health_timeout": seconds,
        "body": body, "health": ["test", "-e", "/said/healthy"],
    }  # fmt: skip


def test_it_has_the_usual_share_when_it_works(module: ModuleType, name: str, tmp_path: Path) -> None:
    run = threading.Thread(target=module.run, args=(module.Roller(), [spec(name, tmp_path, 60)]))
    run.start()
    eventually(lambda: part(module, name) == module.share.LITTLE)
    (tmp_path / "healthy").touch()
    run.join(60)
    assert part(module, name) == 1


def test_what_starts_anew_has_the_usual_share(module: ModuleType, name: str, tmp_path: Path) -> None:
    """Whatever became of the module that started it."""
    with pytest.raises(module.EngineError, match="is not healthy after"):
        module.run(module.Roller(), [spec(name, tmp_path, 0.5)])
    assert part(module, name) == module.share.LITTLE
    docker("restart", "--time", "0", name)
    assert part(module, name) == 1
