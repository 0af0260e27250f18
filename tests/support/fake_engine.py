# SPDX-License-Identifier: Apache-2.0
"""The part of the Docker Engine API that the programs of a host read: inspect, list, start and events, on a socket."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

IMAGE = "registry.test:5000/keystone@sha256:" + "a1" * 32
Events = list[dict[str, Any]]


class FakeEngine:
    """Containers by name: the inspect's State, and what happened.

    A list shows `Shown` of a state as its Status; stats are its `Stats`.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.states: dict[str, dict[str, Any]] = {}
        self.restarts = 0
        self.events: Events = []
        self.started: list[str] = []
        """names, as they were started over the API"""
        self.news = threading.Condition()
        self.listening = threading.Event()
        self.listed = threading.Event()

    def happen(self, action: str, name: str, **attributes: str) -> float:
        """An event of a container; returns its time."""
        now = time.time_ns()
        event = {
            "status": action, "id": name * 4, "from": IMAGE, "Type": "container", "Action": action, "scope": "local",
            "Actor": {"ID": name * 4, "Attributes": {"name": name, "scs.container": name, **attributes}},
            "time": now // 10**9, "timeNano": now,
        }  # fmt: skip
        with self.news:
            self.events.append(event)
            self.news.notify_all()
        return now / 1e9

    def inspect(self, name: str) -> dict[str, Any]:
        """As GET /containers/NAME/json."""
        return {
            "Id": name * 4, "Created": "2026-11-01T00:00:00.123456789Z", "Name": f"/{name}",
            "Image": "sha256:" + "b2" * 32, "RestartCount": self.restarts, "State": self.states[name],
            "Config": {"Image": IMAGE},
        }  # fmt: skip

    def ended(self) -> list[dict[str, Any]]:
        """As GET /containers/json of those that do not run."""
        return [
            {"Id": name * 4, "Names": [f"/{name}"]} for name, s in self.states.items() if s["Status"] == "exited"
        ]  # fmt: skip

    def listed_all(self) -> list[dict[str, Any]]:
        """As GET /containers/json?all=1 of all."""
        return [
            {
                "Id": name * 4, "Names": [f"/{name}"], "State": s["Status"], "Status": s.get("Shown", "Up 5 minutes"),
                "Labels": {"scs.container": name, "scs.service": name.partition("_")[0]},
            }
            for name, s in self.states.items()
        ]  # fmt: skip


class Server(socketserver.ThreadingUnixStreamServer):
    """Serves one engine."""

    daemon_threads = True
    engine: FakeEngine


class Handler(BaseHTTPRequestHandler):
    """Answers as the engine does."""

    server: Server

    def address_string(self) -> str:
        """A UNIX socket has no address."""
        return ""

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Inspect, list, events."""
        engine, url = self.server.engine, urlsplit(self.path)
        parts = url.path.split("/")[2:]
        if parts == ["events"]:
            self._events(parse_qs(url.query))
        elif parts == ["containers", "json"]:
            wanted = json.loads(parse_qs(url.query)["filters"][0])
            self._answer(200, engine.ended() if "status" in wanted else engine.listed_all())
            engine.listed.set()
        elif parts[2:] == ["stats"]:
            self._answer(200, next(s["Stats"] for n, s in engine.states.items() if n * 4 == parts[1]))
        elif parts[1] in engine.states:
            self._answer(200, engine.inspect(parts[1]))
        else:
            self._answer(404, {"message": "No such container"})

    def do_POST(self) -> None:
        """Start."""
        engine = self.server.engine
        container = self.path.split("/")[3]
        name = next(n for n in engine.states if n * 4 == container)
        engine.started.append(name)
        engine.states[name]["Status"] = "running"
        self._answer(204, None)

    def _events(self, query: dict[str, list[str]]) -> None:
        engine = self.server.engine
        wanted = set(json.loads(query["filters"][0])["event"])
        self.send_response(200)
        self.end_headers()
        if "until" in query:
            for event in engine.events:
                if event["Action"] in wanted:
                    self.wfile.write(json.dumps(event).encode() + b"\n")
            return
        sent = len(engine.events)
        engine.listening.set()
        while True:
            with engine.news:
                while len(engine.events) <= sent:
                    engine.news.wait()
                event = engine.events[sent]
            sent += 1
            if event["Action"] in wanted:
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[FakeEngine]:
    """An engine on a socket in this folder."""
    engine = FakeEngine(folder / "docker.sock")
    with Server(str(engine.socket), Handler) as server:
        server.engine = engine
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield engine
        server.shutdown()
