# SPDX-License-Identifier: Apache-2.0
"""A small store of values that a majority of its members must agree on: enough of etcd to run a region's tests on.

A member has an id, so that one which lost its data comes back as another one. Every change goes through the leader: of
the members that answer, the one that knows most. Without a majority there is no leader, and nothing changes.

    votes create HOST URL DATA              the first member of a new cluster
    votes serve HOST URL DATA PEER,...      a member; without data it joins the cluster of peers (addresses)
    votes rebuild HOST URL DATA             a new cluster with a member's data
    votes show DATA | votes reset DATA
    votes ask URL METHOD PATH [JSON]
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

BEAT, SILENCE = 0.1, 2.0
"""Seconds between two questions to a member, and without an answer after which it counts as gone."""
State = dict[str, Any]
direct = build_opener(ProxyHandler({}))


def ask(url: str, method: str, path: str, body: Any = None, timeout: float = 2) -> Any:
    """A request to a member."""
    request = Request(url + path, method=method, data=None if body is None else json.dumps(body).encode())
    with direct.open(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def read(data: Path) -> State:
    """A member's state; empty when it has none."""
    file = data / "state.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def save(data: Path, state: State) -> None:
    """At once or not at all."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "state.new").write_text(json.dumps(state))
    (data / "state.new").replace(data / "state.json")


def alone(host: str, url: str, state: State) -> State:
    """The state of a cluster with this member only."""
    own = uuid.uuid4().hex[:8]
    return {"id": own, "members": {own: {"host": host, "url": url}}, "index": state.get("index", 0) + 1,
            "values": state.get("values", {})}  # fmt: skip


class Member:
    """A member that runs."""

    def __init__(self, host: str, url: str, data: Path, peers: list[str]) -> None:
        self.host, self.url, self.data, self.peers = host, url, data, peers
        self.state = read(data)
        self.lock = threading.RLock()
        self.heard: dict[str, tuple[float, State]] = {}
        """member: when it answered last, and what"""
        self.quiet = 0.0
        """does not lead before then when another one can"""

    # what others are told

    def ping(self) -> State:
        quiet = time.monotonic() < self.quiet
        return {"id": self.state.get("id", ""), "index": self.state.get("index", 0), "quiet": quiet}

    def status(self) -> State:
        members = self.state.get("members", {})
        own = self.state.get("id", "")
        status = "joining" if not own else "member" if own in members else "left"
        leader = self.leader()
        return {
            "id": own, "status": status, "leader": members[leader]["host"] if leader else "",
            "members": {i: m["host"] for i, m in members.items()}, "index": self.state.get("index", 0),
            "alive": sorted(members[i]["host"] for i in self.alive()),
        }  # fmt: skip

    def alive(self) -> dict[str, State]:
        members = self.state.get("members", {})
        now = time.monotonic()
        found = {i: said for i, (at, said) in self.heard.items() if i in members and now - at < SILENCE}
        own = self.state.get("id", "")
        return {**found, own: self.ping()} if own in members else {}

    def leader(self) -> str:
        alive, members = self.alive(), self.state.get("members", {})
        if not alive or 2 * len(alive) <= len(members):
            return ""
        return min(alive, key=lambda i: (alive[i]["quiet"], -alive[i]["index"], members[i]["host"]))

    # changes

    def change(self, method: str, path: str, body: Any) -> State:
        """Make a change when this is the leader, else have the leader make it."""
        leader = self.leader()
        if not leader:
            raise ValueError("no leader")
        if leader != self.state["id"]:
            found: State = ask(self.state["members"][leader]["url"], method, path, body)
            return found
        with self.lock:
            new = json.loads(json.dumps(self.state))
            new["index"] += 1
            made = ""
            if path == "/values":
                new["values"].update(body)
            elif method == "POST":
                made = uuid.uuid4().hex[:8]
                new["members"][made] = body
            else:
                new["members"].pop(path.rpartition("/")[2], None)
            agreed = sum(self._agrees(i, new) for i in self.state["members"])
            if 2 * agreed <= len(self.state["members"]):
                raise ValueError("no majority")
            self.take(new)
            return {**new, "id": made or new["id"]}

    def _agrees(self, member: str, new: State) -> bool:
        if member == self.state["id"]:
            return True
        try:
            ask(self.state["members"][member]["url"], "PUT", "/state", new)
        except (URLError, OSError):
            return False
        return True

    def take(self, new: State) -> None:
        with self.lock:
            if new["index"] > self.state.get("index", 0):
                self.state = {**new, "id": self.state.get("id") or new["id"]}
                save(self.data, self.state)

    # in the background

    def beat(self) -> None:
        while True:
            try:
                if self.state:
                    self._look()
                else:
                    self._join()
            except (URLError, OSError, ValueError, KeyError):
                pass
            time.sleep(BEAT)

    def _join(self) -> None:
        for peer in self.peers:
            if peer != self.url:
                try:
                    found = ask(peer, "POST", "/members", {"host": self.host, "url": self.url})
                except (URLError, OSError):
                    continue
                self.take(found)
                return

    def _look(self) -> None:
        for member, place in list(self.state["members"].items()):
            if member != self.state["id"]:
                try:
                    self.heard[member] = (time.monotonic(), ask(place["url"], "GET", "/ping", timeout=1))
                except (URLError, OSError):
                    continue
        leader = self.leader()
        if leader and self.alive()[leader]["index"] > self.state["index"]:
            self.take(ask(self.state["members"][leader]["url"], "GET", "/state"))


def serve(member: Member) -> None:
    """Answer until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            try:
                code, found = 200, self.found(body)
            except (ValueError, KeyError, OSError) as error:
                code, found = 503, {"error": str(error)}
            content = json.dumps(found).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - names of the base class

        def found(self, body: Any) -> Any:
            if self.command == "GET":
                return {"/ping": member.ping, "/status": member.status, "/state": lambda: member.state}[self.path]()
            if self.path == "/state":
                member.take(body)
                return {}
            if self.path == "/quiet":
                member.quiet = time.monotonic() + 5
                return {}
            return member.change(self.command, self.path, body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    place = urlsplit(member.url)
    assert place.hostname and place.port
    server = ThreadingHTTPServer((place.hostname, place.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=member.beat, daemon=True).start()
    server.serve_forever()


def main(verb: str, *arguments: str) -> None:
    """The program."""
    if verb == "ask":
        url, method, path, *body = arguments
        try:
            print(json.dumps(ask(url, method, path, json.loads(body[0]) if body else None)))
        except (URLError, OSError) as error:
            sys.exit(str(error))
    elif verb == "show":
        print(json.dumps(read(Path(arguments[0]))))
    elif verb == "reset":
        shutil.rmtree(arguments[0], ignore_errors=True)
    else:
        host, url, data, *peers = arguments
        folder = Path(data)
        if verb == "serve":
            port = urlsplit(url).port
            serve(Member(host, url, folder, [f"http://{peer}:{port}" for peer in peers[0].split(",")]))
        elif verb == "rebuild" or not read(folder):
            save(folder, alone(host, url, read(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
