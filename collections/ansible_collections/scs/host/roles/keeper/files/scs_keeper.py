#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Restarts managed containers that Docker does not: those that were killed or stopped without `scs`.

Docker's restart policy restarts a process that exits by itself, but treats `docker kill` and `docker stop` as intended.
Here only `scs stop` counts as intended: it leaves a marker. All other containers are started again.
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


def check() -> None:
    """Start every managed container that has exited and was not stopped with `scs stop`."""
    filters = quote(json.dumps({"label": ["scs.container"], "status": list(ENDED)}))
    with open(LOCK, "w") as lock:
        # a running module may have stopped a container temporarily: wait until it has finished
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, ended = request("GET", f"/containers/json?all=1&filters={filters}")
        for container in ended if status == 200 else ():
            name = container["Names"][0].lstrip("/")
            if os.path.exists(os.path.join(STOPPED, name)):
                continue
            status, answer = request("POST", f"/containers/{container['Id']}/start")
            said = f": {answer.get('message')}" if status >= 400 and answer else ""
            print(f"{name} had ended: {'started' if status < 400 else 'cannot start'}{said}", flush=True)


def follow() -> None:
    """Check at start and whenever a managed container exits; returns when the engine stops."""
    filters = quote(json.dumps({"type": ["container"], "event": ["die"], "label": ["scs.container"]}))
    connection = Connection("localhost", timeout=None)
    connection.request("GET", f"/v1.41/events?filters={filters}")
    stream = connection.getresponse()
    check()
    while stream.readline():
        check()


def main() -> NoReturn:
    """Follow the engine forever, including across its restarts."""
    while True:
        try:
            follow()
        except (OSError, http.client.HTTPException) as error:
            print(f"the Docker engine does not answer: {error}", file=sys.stderr, flush=True)
        time.sleep(2)


if __name__ == "__main__":
    main()
