#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what this host knows of a container: the engine's inspect, its events, and the exits that the keeper recorded.

`scs status CONTAINER` sends this program over SSH: standard library only. Its argument is the container's name. It
prints a JSON object with `state`, `exits` and `events`; `state` is null if there is no such container.

Source: Docker Engine API v1.41, GET /containers/{id}/json and GET /events
"""

import http.client
import json
import os
import socket
import sys
import time
from typing import Any
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
EXITS = "/var/lib/scs/exits"
WINDOW = 7 * 86400
"""Seconds. The engine keeps its latest 256 events only, and exec events of health checks are most of them."""


class Connection(http.client.HTTPConnection):
    """HTTP over the engine's UNIX socket."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(SOCKET)


def get(path: str) -> bytes | None:
    """The engine's answer; None if there is no such thing.

    :raises OSError: the engine does not answer, or refuses
    """
    connection = Connection("localhost")
    try:
        connection.request("GET", "/v1.41" + path)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status >= 400:
        raise OSError(data.decode("utf-8", "replace")[:200])
    return data


def state(name: str) -> dict[str, Any] | None:
    """The parts of the inspect that say how the container is."""
    data = get(f"/containers/{quote(name)}/json")
    if data is None:
        return None
    full = json.loads(data)
    return {
        "id": full["Id"], "created": full["Created"], "image": full["Config"]["Image"], "image_id": full["Image"],
        "restarts": full.get("RestartCount", 0), **{k: full["State"].get(k) for k in (
            "Status", "StartedAt", "FinishedAt", "ExitCode", "OOMKilled", "Error", "Health")},
    }  # fmt: skip


def events(name: str) -> list[dict[str, Any]]:
    """The exits, signals and memory shortages of the container that the engine still knows."""
    now = time.time()
    filters = {"type": ["container"], "event": ["die", "kill", "oom"], "container": [name]}
    data = get(f"/events?since={now - WINDOW:.0f}&until={now:.3f}&filters={quote(json.dumps(filters))}") or b""
    found = [json.loads(line) for line in data.splitlines() if line.strip()]
    return [
        {"action": e["Action"], "time": e["timeNano"] / 1e9, "id": e["Actor"]["ID"],
         "code": int(e["Actor"]["Attributes"].get("exitCode") or 0),
         "signal": int(e["Actor"]["Attributes"].get("signal") or 0)}
        for e in found
    ]  # fmt: skip


def exits(name: str) -> list[dict[str, Any]]:
    """What the keeper recorded."""
    found = []
    try:
        with open(os.path.join(EXITS, name)) as stream:
            for line in stream:
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
    except OSError:
        pass
    return found


def main(name: str) -> int:
    """Print the answer; returns the exit code."""
    try:
        print(json.dumps({"state": state(name), "events": events(name), "exits": exits(name)}))
    except (OSError, http.client.HTTPException) as error:
        print(f"no Docker engine answers on this host: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
