# SPDX-License-Identifier: Apache-2.0
"""What a node says of a container in which a command cannot be run: by the engine's status, whatever its message is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import ModuleType
from typing import Any

import pytest

from tests.support import node_modules


class Docker(ThreadingUnixStreamServer):
    """An engine with one container, that answers as it is told to: {path's end: (status, body)}."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.slow = 0.0
        super().__init__(str(path), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Docker
    protocol_version = "HTTP/1.0"

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        # a connection that closes with unread data is reset, and the client loses the answer
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.slow)
        end = self.path.rpartition("/")[2]
        status, body = self.server.answers.get(end, (200, {}))
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    found = node_modules.load(monkeypatch, "commands", "module_utils")
    monkeypatch.setitem(found.Engine.request.__globals__, "SOCKET", str(tmp_path / "docker.sock"))
    return found


@pytest.fixture
def docker(module: ModuleType, tmp_path: Path) -> Iterator[Docker]:
    server = Docker(tmp_path / "docker.sock")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


COMMAND = {"container": "web", "argv": ["true"], "timeout": 60, "one_shot": False}


def refused(status: int) -> tuple[int, dict[str, Any]]:
    return status, {"message": "words that nothing reads"}


def inspected(restarting: bool) -> tuple[int, dict[str, Any]]:
    return 200, {"State": {"Restarting": restarting}}


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"exec": refused(404)}, "absent"),
        ({"exec": refused(409), "json": inspected(restarting=True)}, "restarting"),
        ({"exec": refused(409), "json": inspected(restarting=False)}, "stopped"),
        # removed meanwhile
        ({"exec": refused(409), "json": refused(404)}, "absent"),
        # it runs; the engine had another reason
        ({"exec": refused(500)}, "running"),
    ],
)
def test_the_state_of_a_container_that_takes_no_command(
    module: ModuleType, docker: Docker, answers: dict[str, tuple[int, dict[str, Any]]], state: str
) -> None:
    docker.answers = answers
    answer = module.run(module.Engine(), COMMAND)
    assert answer == {"code": -1, "output": "words that nothing reads", "container": state}


def test_a_command_that_ran_and_one_that_did_not_end(module: ModuleType, docker: Docker) -> None:
    docker.answers = {"exec": (201, {"Id": "1"}), "json": (200, {"ExitCode": 3})}
    assert module.run(module.Engine(), COMMAND)["code"] == 3
    engine = module.Engine()
    ask: Callable[..., bytes] = engine.request

    def slow(method: str, path: str, *rest: Any, **more: Any) -> bytes:
        docker.slow = 1.0 if path.endswith("/start") else 0.0
        return ask(method, path, *rest, **more)

    engine.request = slow
    answer = module.run(engine, {**COMMAND, "timeout": 0.2})
    assert answer == {"code": -1, "output": "no answer within 0 s", "container": "running"}


def test_an_unknown_exit_code_is_no_success(module: ModuleType, docker: Docker) -> None:
    docker.answers = {"exec": (201, {"Id": "1"}), "json": (200, {"ExitCode": None, "Running": False})}
    assert module.run(module.Engine(), COMMAND)["code"] == -1


def test_an_engine_that_does_not_answer(module: ModuleType) -> None:
    answer = module.run(module.Engine(), COMMAND)
    assert (answer["code"], answer["container"]) == (-1, "unreachable")


def test_a_one_shot_command_says_nothing_of_the_container(module: ModuleType) -> None:
    assert "container" not in module.run(module.Engine(), {**COMMAND, "one_shot": True, "body": {}})
