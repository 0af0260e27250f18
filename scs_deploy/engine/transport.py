# SPDX-License-Identifier: Apache-2.0
"""Runs a program on many hosts at once over ssh, and returns each host's answer as it comes. Starts no Ansible."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from scs_deploy.engine.connection import Connection
from scs_deploy.engine.runner import message_of

AT_ONCE = 50
"""Hosts that are asked at the same time, as many as Ansible's forks."""

LOST = 255
"""ssh's own exit code: the connection failed."""


@dataclass(frozen=True)
class Reply:
    """What became of a question."""

    host: str
    answer: dict[str, Any] = field(default_factory=dict)
    """what the program printed as JSON"""
    unreachable: str = ""
    """ssh's message"""
    failed: str = ""
    """why there is no answer, on one line"""
    refused: bool = False
    """the program found the host unsuitable; see `failed`"""
    sent: float = 0
    received: float = 0
    """seconds since the epoch"""


class Hosts:
    """Questions to hosts: asked as soon as they are put, answered in the order in which hosts respond.

    Leaving the context ends what still runs on this side. SIGTERM does so, too, as in a run of Ansible.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="host")
        self._asked: list[Future[Reply]] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._before: Any = None

    def __enter__(self) -> Hosts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._lock:
                self._closed = True
                for process in self._running:
                    process.kill()
            self._pool.shutdown(cancel_futures=True)
        finally:
            if self._before is not None:
                signal.signal(signal.SIGTERM, self._before)

    def ask(self, connection: Connection, program: str) -> None:
        """Run a Python program on a host. It may hold secrets: it goes through ssh's standard input."""
        self._asked.append(self._pool.submit(self._ask, connection, program))

    def replies(self) -> Iterator[Reply]:
        """The reply to each question."""
        for done in as_completed(self._asked):
            yield done.result()

    def _ask(self, connection: Connection, program: str) -> Reply:
        sent = time.time()
        # a file: a connection that stays open in the background may keep a pipe open, which would never end
        with tempfile.TemporaryFile() as said:
            with self._lock:
                if self._closed:
                    return Reply(connection.host, failed="not asked")
                try:
                    process = subprocess.Popen(
                        [*connection.ssh, connection.command],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=said,
                    )
                except OSError as error:
                    return Reply(connection.host, failed=f"{connection.ssh[0]}: {error.strerror}")
                self._running.add(process)
            try:
                output, _ = process.communicate(program.encode())
            finally:
                with self._lock:
                    self._running.discard(process)
            said.seek(0)
            return judge(connection.host, process.returncode, output, said.read(), sent, time.time())


def judge(host: str, code: int, output: bytes, said: bytes, sent: float = 0, received: float = 0) -> Reply:
    """The reply from a finished program. Pure.

    :param output: of the program: JSON on one line, the last one that begins with a brace; a login shell may add others
    :param said: what ssh, sudo, the shell and Python wrote to standard error
    """
    lines = said.decode("utf-8", "replace").split("\n")
    words = [" ".join(line.split()) for line in lines if line.strip()]
    if code == LOST:
        return Reply(host, unreachable=" ".join(words) or "the connection ended", sent=sent, received=received)
    found = next((line for line in reversed(output.splitlines()) if line.startswith(b"{")), b"")
    try:
        answer = json.loads(found) if found else None
    except ValueError:
        return Reply(host, failed="the answer is incomplete", sent=sent, received=received)
    if not isinstance(answer, dict):
        return Reply(host, failed=_trouble(code, words), sent=sent, received=received)
    if answer.get("failed"):
        refused = bool(answer.get("refused"))
        return Reply(host, failed=message_of(answer), refused=refused, sent=sent, received=received)
    return Reply(host, answer, sent=sent, received=received)


def _trouble(code: int, words: list[str]) -> str:
    """Why a program did not print an answer."""
    if any("sudo: a password is required" in line for line in words):
        return "sudo asks for a password"
    # the last line of a traceback is the error; a shell's only line says what it did not find
    return words[-1] if words else f"no answer, exit code {code}"


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
