#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Restarts managed containers that Docker does not: those that were killed or stopped without `scs`.

Docker's restart policy restarts a process that exits by itself, but treats `docker kill` and `docker stop` as intended.
Here only `scs stop` counts as intended: it leaves a marker. All other containers are started again, except a replaced
one that finished its work next to its successor.

Every exit is also recorded, because Docker forgets it with the next start and keeps events for minutes only: a file per
container with one JSON object per exit, the latest last:

- time: seconds since the epoch
- code: exit code
- signal: the last one that was sent through the engine; 0: none
- oom: whether the kernel ended a process of the container because memory ran out
- scs: whether a module of scs was at work on this host
- restarted: whether the keeper started the container again
"""

import fcntl
import http.client
import json
import os
import socket
import sys
import time
from typing import Any, NoReturn
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
STOPPED = "/var/lib/scs/stopped"
LOCK = "/run/scs-engine.lock"
ENDED = ("exited", "dead", "created")
EXITS = "/var/lib/scs/exits"
LEAVING = "_leaving"
"""Name suffix of a replaced container next to its successor. The module of an interrupted run may have left it."""
KEPT = 20
"""Exits of a container that are remembered."""


class Connection(http.client.HTTPConnection):
    """HTTP over the engine's UNIX socket."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def request(method: str, path: str, timeout: float = 60) -> tuple[int, Any]:
    """Send a request; returns (status, parsed response or None)."""
    connection = Connection("localhost", timeout=timeout)
    try:
        connection.request(method, "/v1.41" + path)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(data) if data else None


class Exits:
    """Records the exits of containers from the engine's events."""

    def __init__(self) -> None:
        self.signals: dict[str, int] = {}
        """container id: the last signal that was sent to it"""
        self.ooms: set[str] = set()
        """ids of containers whose memory ran out"""
        self.busy_until = 0.0
        """a module of scs was at work until then"""
        self.open: set[str] = set()
        """names of containers whose latest exit is recorded, and that the keeper did not start since"""
        self.early: set[str] = set()
        """names of containers that the keeper started before it read of their exit"""

    def take(self, event: dict[str, Any], busy: bool) -> None:
        """Take an event.

        :param busy: whether a module of scs is at work now
        """
        actor = event["Actor"]
        container, attributes = actor["ID"], actor["Attributes"]
        if event["Action"] == "kill":
            self.signals[container] = int(attributes["signal"])
        elif event["Action"] == "oom":
            self.ooms.add(container)
        elif event["Action"] == "die":
            name, time_ = attributes["name"], event["timeNano"] / 1e9
            found = {
                "time": round(time_, 3),
                "code": int(attributes["exitCode"]),
                "signal": self.signals.pop(container, 0),
                "oom": container in self.ooms,
                # an event is read late while the keeper waits for that module
                "scs": busy or time_ <= self.busy_until,
                "restarted": name in self.early,
            }
            self.ooms.discard(container)
            if name in self.early:
                self.early.discard(name)
            else:
                self.open.add(name)
            write(name, [*read(name), found])

    def started(self, name: str) -> None:
        """Take that the keeper has started a container."""
        exits = read(name)
        if name in self.open and exits:
            self.open.discard(name)
            exits[-1]["restarted"] = True
            write(name, exits)
        else:
            self.early.add(name)


def read(name: str) -> list[dict[str, Any]]:
    """The recorded exits of a container."""
    try:
        with open(os.path.join(EXITS, name)) as stream:
            return [json.loads(line) for line in stream]
    except (OSError, ValueError):
        return []


def write(name: str, exits: list[dict[str, Any]]) -> None:
    """Record the latest exits of a container. A full disk must not keep containers from being started."""
    file = os.path.join(EXITS, name)
    try:
        os.makedirs(EXITS, exist_ok=True)
        with open(file + ".new", "w") as stream:
            stream.writelines(json.dumps(found) + "\n" for found in exits[-KEPT:])
        os.replace(file + ".new", file)
    except OSError as error:
        print(f"{file}: {error.strerror}", file=sys.stderr, flush=True)


def busy() -> bool:
    """Whether a module of scs is at work on this host."""
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def replaced(name: str) -> bool:
    """Whether a container has a successor. Its next start would take connections with an outdated configuration."""
    if not name.endswith(LEAVING):
        return False
    status, _ = request("GET", f"/containers/{quote(name.removesuffix(LEAVING))}/json")
    return status == 200


def check(exits: Exits) -> None:
    """Start every managed container that has exited and was not stopped with `scs stop`."""
    filters = quote(json.dumps({"label": ["scs.container"], "status": list(ENDED)}))
    with open(LOCK, "w") as lock:
        # a running module may have stopped a container temporarily: wait until it has finished
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_EX)
            exits.busy_until = time.time()
        status, ended = request("GET", f"/containers/json?all=1&filters={filters}")
        for container in ended if status == 200 else ():
            name = container["Names"][0].lstrip("/")
            if os.path.exists(os.path.join(STOPPED, name)) or replaced(name):
                continue
            status, answer = request("POST", f"/containers/{container['Id']}/start")
            said = f": {answer.get('message')}" if status >= 400 and answer else ""
            print(f"{name} had ended: {'started' if status < 400 else 'cannot start'}{said}", flush=True)
            if status < 400:
                exits.started(name)


def follow(exits: Exits) -> None:
    """Check at start and whenever a managed container exits; returns when the engine stops."""
    events = {"type": ["container"], "event": ["die", "kill", "oom"], "label": ["scs.container"]}
    connection = Connection("localhost", timeout=None)
    connection.request("GET", f"/v1.41/events?filters={quote(json.dumps(events))}")
    stream = connection.getresponse()
    check(exits)
    while line := stream.readline():
        event = json.loads(line)
        exits.take(event, busy())
        if event["Action"] == "die":
            check(exits)


def main() -> NoReturn:
    """Follow the engine forever, including across its restarts."""
    exits = Exits()
    while True:
        try:
            follow(exits)
        except (OSError, http.client.HTTPException) as error:
            print(f"the Docker engine does not answer: {error}", file=sys.stderr, flush=True)
        time.sleep(2)


if __name__ == "__main__":
    main()
