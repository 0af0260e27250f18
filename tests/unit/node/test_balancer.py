# SPDX-License-Identifier: Apache-2.0
"""A roll waits until HAProxy, asked over its socket, uses the container; one that copies its data may take longer."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import node_modules

STATES: dict[str, str] = {}


class Admin(socketserver.StreamRequestHandler):
    """HAProxy's admin socket."""

    def handle(self) -> None:
        assert self.rfile.readline() == b"show stat -1 4 -1\n"
        rows = [f"{name.replace('/', ',')},{state}" for name, state in STATES.items()]
        self.wfile.write("\n".join(["# pxname,svname,status", *rows, ""]).encode())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = node_modules.load(monkeypatch, "containers")
    monkeypatch.setattr(module.haproxy, "SOCKET", str(tmp_path / "admin.sock"))
    monkeypatch.setattr(module, "BALANCER", 0.5)
    with socketserver.ThreadingUnixStreamServer(module.haproxy.SOCKET, Admin) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield module
        server.shutdown()


@pytest.mark.parametrize(
    ("state", "copies", "fails"),
    [("UP", [], False), ("DOWN", [], True), ("DOWN", ["image"], False), ("DOWN", ["other"], True)],
)
def test_a_member_that_stays_down_fails_the_roll_unless_it_copies(
    state: str, copies: list[str], fails: bool, module: ModuleType
) -> None:
    STATES.clear()
    STATES.update({"image/ha-1": state, "image/ha-2": "DOWN"})
    roller = module.Roller.__new__(module.Roller)
    spec = module.Action("replace", "glance", members=[["image", "ha-1"]], copies=copies)
    if fails:
        with pytest.raises(module.EngineError, match="HAProxy does not send to image/ha-1"):
            roller.wait_for_balancer(spec)
    else:
        roller.wait_for_balancer(spec)
