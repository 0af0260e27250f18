# SPDX-License-Identifier: Apache-2.0
"""A thin client of the Docker Engine API over its UNIX socket, with only the calls that modules need.

Source: Docker Engine API v1.41, https://docs.docker.com/reference/api/engine/version/v1.41/
Standard library only, so that a node needs nothing but python3 and a Docker engine.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import time
from typing import Any
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
PROCESS = "/var/run/docker.pid"
VERSION = "/v1.41"


class EngineError(Exception):
    """The engine rejected a request or is not running. The message names the request."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0: the engine did not answer"""


class EngineTimeoutError(EngineError):
    """The engine did not answer in time."""


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


class Engine:
    """Requests to the local Docker engine."""

    def __init__(self, timeout: float = 120) -> None:
        self.timeout = timeout

    def request(self, method: str, path: str, body: object = None, timeout: float | None = None) -> bytes:
        """Send a request; returns the response's body.

        :raises EngineError: the engine does not answer, or with status 400 or above
        """
        connection = _Connection("localhost", timeout=timeout or self.timeout)
        payload = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if payload else {}
        try:
            connection.request(method, VERSION + path, payload, headers)
            answer = connection.getresponse()
            data = answer.read()
        except TimeoutError as error:
            raise EngineTimeoutError(f"no answer from the Docker engine at {SOCKET}: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"no answer from the Docker engine at {SOCKET}: {error}") from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise EngineError(_message(data) or f"{method} {path}: {answer.status}", answer.status)
        return data

    def inspect(self, name: str) -> dict[str, Any] | None:
        """The inspect of a container; None if it does not exist."""
        try:
            container: dict[str, Any] = json.loads(self.request("GET", f"/containers/{quote(name)}/json"))
            return container
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def own_pid(self) -> int:
        """The engine's process; 0 if unknown."""
        try:
            with open(PROCESS) as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0

    def pid(self, name: str) -> int:
        """A container's main process; 0 if it is not running."""
        state = self.inspect(name)
        return state["State"]["Pid"] if state else 0

    def running(self) -> list[str]:
        """Names of the running containers."""
        return [c["Names"][0].lstrip("/") for c in json.loads(self.request("GET", "/containers/json"))]

    def has_image(self, reference: str) -> bool:
        """Whether the engine has this image."""
        try:
            self.request("GET", f"/images/{quote(reference, safe='/:@')}/json")
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    def pull(self, reference: str) -> None:
        """Pull `registry/repository@digest`; the an error in the response's stream counts too.

        :raises EngineError: the registry does not have it, or is not reachable or trusted
        """
        repository, _, digest = reference.partition("@")
        data = self.request(
            "POST", f"/images/create?fromImage={quote(repository, safe='')}&tag={quote(digest, safe='')}", timeout=1800
        )
        for line in data.splitlines():
            if line.strip():
                event = json.loads(line)
                if "error" in event:
                    raise EngineError(f"{reference}: {event['error']}")

    def references(self) -> list[str]:
        """`registry/repository@digest` of every image that was pulled, or pushed."""
        return [r for image in json.loads(self.request("GET", "/images/json")) for r in image.get("RepoDigests") or []]

    def remove_image(self, reference: str) -> bool:
        """Remove an image, or this name of it; returns False if a container uses it or it does not exist."""
        try:
            self.request("DELETE", f"/images/{quote(reference, safe='/:@')}")
        except EngineError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    def create(self, name: str, body: dict[str, Any]) -> None:
        """Create a container."""
        self.request("POST", f"/containers/create?name={quote(name)}", body)

    def start(self, name: str) -> None:
        """Start a container. It may be running already."""
        self.request("POST", f"/containers/{quote(name)}/start")

    def stop(self, name: str, seconds: int | None = None) -> None:
        """Stop a container, and kill it after `seconds` (default: its own timeout). It may be stopped already."""
        query = "" if seconds is None else f"?t={seconds}"
        self.request("POST", f"/containers/{quote(name)}/stop{query}", timeout=600)

    def remove(self, name: str) -> None:
        """Remove a container by force. It need not exist."""
        try:
            self.request("DELETE", f"/containers/{quote(name)}?force=1")
        except EngineError as error:
            if error.status != 404:
                raise

    def rename(self, name: str, new: str) -> None:
        """Rename a container."""
        self.request("POST", f"/containers/{quote(name)}/rename?name={quote(new)}")

    def restart_policy(self, name: str, policy: str) -> None:
        """Whether the engine starts a container again when it ends: `no`, `unless-stopped`."""
        self.request("POST", f"/containers/{quote(name)}/update", {"RestartPolicy": {"Name": policy}})

    def signal(self, name: str, signal: str) -> None:
        """Send a signal to the container's main process."""
        self.request("POST", f"/containers/{quote(name)}/kill?signal={quote(signal)}")

    def wait(self, name: str, timeout: float) -> int:
        """Wait until a container exits; returns its exit code.

        :raises EngineError: it did not exit within `timeout` seconds
        """
        try:
            answer = json.loads(self.request("POST", f"/containers/{quote(name)}/wait", timeout=timeout))
        except EngineTimeoutError:
            raise EngineTimeoutError(f"{name} did not end within {timeout:.0f} s") from None
        return int(answer["StatusCode"])

    def logs(self, name: str, lines: int = 30) -> str:
        """The last lines of a container's output."""
        data = self.request("GET", f"/containers/{quote(name)}/logs?stdout=1&stderr=1&tail={lines}")
        return _demultiplex(data)

    def execute(self, name: str, command: list[str], timeout: float = 60) -> tuple[int, str]:
        """Run a command in a container; returns (exit code, output).

        Exit code -1: the command did not exit within `timeout` seconds, and was killed; or its exit code is unknown.
        """
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command)}
        run = json.loads(self.request("POST", f"/containers/{quote(name)}/exec", body))["Id"]
        deadline = time.monotonic() + timeout
        try:
            output = self.request("POST", f"/exec/{run}/start", {"Detach": False, "Tty": False}, timeout=timeout)
        except EngineTimeoutError:
            self._end(run)
            return -1, f"no answer within {timeout:.0f} s"
        # it may close its output before it exits
        while (state := self._run(run))["Running"] and time.monotonic() < deadline:
            time.sleep(0.1)
        if state["Running"]:
            self._end(run)
        code = state["ExitCode"]
        return -1 if code is None else int(code), _demultiplex(output)

    def _run(self, run: str) -> dict[str, Any]:
        """State of a command: Running, ExitCode (None: unknown), Pid."""
        state = json.loads(self.request("GET", f"/exec/{run}/json"))
        return {"Running": bool(state.get("Running")), "ExitCode": state.get("ExitCode"), "Pid": state.get("Pid") or 0}

    def _end(self, run: str) -> None:
        """Kill a command and the processes that it started. The engine itself has no request for that."""
        with contextlib.suppress(EngineError):
            state = self._run(run)
            if state["Running"] and state["Pid"]:
                end_session(state["Pid"])

    def volumes(self) -> list[dict[str, Any]]:
        """All volumes' inspects."""
        return json.loads(self.request("GET", "/volumes"))["Volumes"] or []

    def ensure_volume(self, name: str, uid: int, gid: int) -> bool:
        """Create a named volume owned by uid:gid unless it exists; returns whether it was created."""
        try:
            self.request("GET", f"/volumes/{quote(name)}")
            return False
        except EngineError as error:
            if error.status != 404:
                raise
        volume = json.loads(self.request("POST", "/volumes/create", {"Name": name}))
        os.chown(volume["Mountpoint"], uid, gid)
        os.chmod(volume["Mountpoint"], 0o750)
        return True


def ensure_directory(path: str, uid: int, gid: int) -> bool:
    """Create a host directory owned by uid:gid unless it exists; returns whether it was created."""
    if os.path.exists(path):
        return False
    os.makedirs(path, mode=0o755)
    os.chown(path, uid, gid)
    return True


def end_session(leader: int) -> None:
    """Kill all processes of a session. A command in a container is the leader of its own.

    Source: proc_pid_stat(5), field 6

    :param leader: as this host numbers it
    """
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        # an OSError: it has just ended
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                # its name, in brackets, may contain anything
                session = int(file.read().rpartition(")")[2].split()[3])
            if leader in (session, int(entry)):
                os.kill(int(entry), signal.SIGKILL)


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message", ""))
    except (ValueError, AttributeError):
        return data[:200].decode("utf-8", "replace")


def _demultiplex(data: bytes) -> str:
    parts, at = [], 0
    while at + 8 <= len(data):
        kind, size = data[at], struct.unpack(">I", data[at + 4 : at + 8])[0]
        if kind > 2:
            return data.decode("utf-8", "replace")
        parts.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(parts).decode("utf-8", "replace")


def ensure_volume_all(engine: Engine, volumes: dict[str, Any]) -> None:
    """Create all missing volumes of {name: (uid, gid)}."""
    for name, (uid, gid) in volumes.items():
        engine.ensure_volume(name, uid, gid)
