# SPDX-License-Identifier: Apache-2.0
"""A starting container yields CPU time to containers in service: the module against a real engine."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support import node_modules
from tests.support.live_haproxy import IMAGE, docker, needs_haproxy
from tests.support.peer_hosts import eventually

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
    """A container's part of the usual CPU share; 0: it is not running yet."""
    for file in module.share._files(module.Roller().engine.pid(name)):
        return int(Path(file).read_text()) / int(module.share.USUAL[Path(file).name])
    return 0.0


def spec(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """The spec of a container that becomes healthy when the test allows it."""
    body = {
        "Image": IMAGE,
        "Cmd": ["sleep", "600"],
        "HostConfig": {"NetworkMode": "none", "Binds": [f"{folder}:/said"]},
    }
    return {
        "container": name, "action": "create", "body": body,
        "health": {"command": ["test", "-e", "/said/healthy"], "timeout": seconds},
    }  # fmt: skip


def test_a_healthy_container_has_the_usual_share(module: ModuleType, name: str, tmp_path: Path) -> None:
    run = threading.Thread(target=module.run, args=(module.Roller(), [module.Action.read(spec(name, tmp_path, 60))]))
    run.start()
    eventually(lambda: part(module, name) == module.share.LITTLE)
    (tmp_path / "healthy").touch()
    run.join(60)
    assert part(module, name) == 1


def test_a_restarted_container_has_the_usual_share(module: ModuleType, name: str, tmp_path: Path) -> None:
    """Even if the module that started it has failed."""
    with pytest.raises(module.EngineError, match="is not healthy after"):
        module.run(module.Roller(), [module.Action.read(spec(name, tmp_path, 0.5))])
    assert part(module, name) == module.share.LITTLE
    docker("restart", "--time", "0", name)
    assert part(module, name) == 1


@pytest.fixture
def container(module: ModuleType, name: str) -> int:
    """The process of a running container."""
    docker("run", "--detach", "--network", "none", "--name", name, IMAGE, "sleep", "600")
    return int(module.Roller().engine.pid(name))


@pytest.fixture
def service(module: ModuleType, container: int) -> Iterator[tuple[int, Path]]:
    """A process in its own control group next to those of the containers, like the engine of a node."""
    tops = [Path(top) for top, group in module.share._groups(container).items() if (Path(group) / "cpu.idle").exists()]
    if not tops:
        pytest.skip("this kernel has no idle control groups")
    group = tops[0] / f"scs-test-{uuid.uuid4().hex[:8]}" / "engine"
    group.mkdir(parents=True)
    process = subprocess.Popen(["sleep", "600"])
    (group / "cgroup.procs").write_text(str(process.pid))
    yield process.pid, group.parent
    process.kill()
    process.wait()
    eventually(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()
    group.parent.rmdir()


def test_the_engine_runs_at_idle_priority(module: ModuleType, container: int, service: tuple[int, Path]) -> None:
    """This applies to its whole branch next to the containers. Afterwards, it has its old share again."""
    process, group = service
    shares = next(group / name for name in module.share.USUAL if (group / name).exists())
    shares.write_text("500")
    with module.share.idle(process, container):
        assert (group / "cpu.idle").read_text() == "1\n"
        # an interrupted run left it so; the next one ends it
        with module.share.idle(process, container):
            pass
        assert (group / "cpu.idle").read_text() == "0\n"
    assert (group / "cpu.idle").read_text() == "0\n"
    assert shares.read_text() == "500\n"


def test_an_engine_among_the_containers_does_not_change(module: ModuleType, container: int) -> None:
    with module.share.idle(container, container), module.share.idle(0, container), module.share.idle(container, 0):
        groups = [Path(group) / "cpu.idle" for group in module.share._groups(container).values()]
        assert {file.read_text() for file in groups if file.exists()} <= {"0\n"}
