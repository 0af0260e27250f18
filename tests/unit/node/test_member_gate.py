# SPDX-License-Identifier: Apache-2.0
"""The gate of a cluster's member: what counts as a yes. The module against a real engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support import node_modules
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually

IMAGE = "scs/base:2025.1"
Ask = Callable[[str], None]

pytestmark = needs(IMAGE)


@pytest.fixture
def member(tmp_path: Path) -> Iterator[str]:
    name = f"scs-test-gate-{uuid.uuid4().hex[:8]}"
    (tmp_path / "etc").mkdir()
    docker(
        "run", "--detach", "--name", name, "--network", "none", "--user", "65534",
        "--volume", f"{tmp_path}/etc:/etc/member:ro", IMAGE, "sleep", "infinity",
    )  # fmt: skip
    yield name
    docker("rm", "--force", name)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    return node_modules.containers(monkeypatch, tmp_path)


@pytest.fixture
def ask(member: str, module: ModuleType, tmp_path: Path) -> Ask:
    """Asks a gate with this text; empty: the container has none. It raises when it is not a yes."""

    def ask(text: str) -> None:
        gate = tmp_path / "etc" / "gate.sh"
        if text:
            gate.write_text(text)
            gate.chmod(0o755)
        action: dict[str, Any] = {"action": "gate", "container": member}
        action["roll"] = {"gate": ["/etc/member/gate.sh"], "timeout": 0}
        module.run(module.Roller(), [module.Action.read(action)])

    return ask


def test_a_gate_says_yes_with_its_exit_code(ask: Ask) -> None:
    ask("#!/bin/sh\nexit 0\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/sh\necho the others need it\nexit 1\n", "is not stopped: the others need it"),
        ("#!/bin/sh\nno-such-command\n", "no-such-command: not found"),
        ("#!/no/such/shell\n", "is not stopped: .*no such file"),
        ("#!/bin/sh\nkill -KILL $$\n", "its gate printed nothing and ended with 137"),
    ],
)
def test_anything_else_is_a_no(ask: Ask, module: ModuleType, text: str, why: str) -> None:
    with pytest.raises(module.EngineError, match=why):
        ask(text)


@pytest.mark.parametrize(("code", "yes"), [(0, True), (1, False)])
def test_a_member_from_before_its_gate_is_asked_beside_it(
    member: str, module: ModuleType, tmp_path: Path, code: int, yes: bool
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "gate.sh").write_text(f"#!/bin/sh\necho $$ says {code}\nexit {code}\n")
    (new / "gate.sh").chmod(0o755)
    body = {"Image": IMAGE, "Cmd": ["sleep", "1"], "HostConfig": {"Binds": [f"{new}:/etc/member:ro"]}}
    action = {"action": "gate", "container": member, "body": body}
    action["roll"] = {"gate": ["/etc/member/gate.sh"], "timeout": 0}
    with nullcontext() if yes else pytest.raises(module.EngineError, match="says 1"):
        module.run(module.Roller(), [module.Action.read(action)])
    assert docker("ps", "--all", "--quiet", "--filter", f"name={member}_gate") == ""


def test_a_gate_may_wait_as_long_as_less_is_left(
    member: str, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer has less to do than the one before, until one has as much."""
    answers = ["0 40 7: 40 objects", "0 30 9: 30 objects", "0 30 2: 30 objects", "0 30 2: 30 objects are stuck"]
    now: list[float] = [0.0]
    said: list[str] = []

    def ask(*_: object) -> tuple[int, str]:
        said.append(answers[min(len(said), len(answers) - 1)])
        return module.WAITING, said[-1]

    monkeypatch.setattr(module.Roller, "ask", ask)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda _: now.__setitem__(0, now[0] + 4))
    action = {"action": "gate", "container": member, "roll": {"gate": ["gate"], "timeout": 10}}
    with pytest.raises(module.EngineError, match=f"{member} is not stopped: 30 objects are stuck"):
        module.Roller().gate(module.Action.read(action))
    # 10 seconds after the third answer, which came at 8
    assert len(said) == 6


def test_a_member_that_does_not_run_is_not_asked(ask: Ask, member: str) -> None:
    docker("stop", "--time", "0", member)
    ask("#!/bin/sh\nexit 1\n")


def test_a_gate_that_hangs_ends(ask: Ask, module: ModuleType, member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it started, or it would stay with each of the hundreds of questions."""
    monkeypatch.setattr(module, "GATE", 1)
    with pytest.raises(module.EngineError, match="no answer within 1 s"):
        ask("#!/bin/sh\nsleep 300 & sleep 301\n")
    eventually(lambda: "sleep 30" not in docker("top", member))
    assert "sleep infinity" in docker("top", member)
