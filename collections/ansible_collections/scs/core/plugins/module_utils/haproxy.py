# SPDX-License-Identifier: Apache-2.0
"""Asks this node's HAProxy over its admin socket.

Source: HAProxy management guide, section 9.3 (unix socket commands), https://docs.haproxy.org/3.0/management.html
"""

from __future__ import annotations

import csv
import socket
import time

SOCKET = "/run/scs/haproxy/admin.sock"


def command(text: str) -> str:
    """The answer to one command; empty when HAProxy is not there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        try:
            connection.connect(SOCKET)
            connection.sendall(text.encode() + b"\n")
            parts = []
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                parts.append(part)
        except OSError:
            return ""
    return b"".join(parts).decode("utf-8", "replace")


def states() -> dict:
    """{(backend, server): status}, status as HAProxy words it: `UP`, `DOWN`, `UP 1/3`, `DRAIN`, `no check` ..."""
    text = command("show stat -1 4 -1").lstrip("# ")
    return {(row["pxname"], row["svname"]): row["status"] for row in csv.DictReader(text.splitlines())}


def wait_up(members: list, deadline: float) -> list:
    """Wait until every (backend, server) that HAProxy knows is up; returns those that are not at `deadline`.

    :param deadline: of time.monotonic()
    """
    while True:
        seen = states()
        down = [
            f"{backend}/{server}"
            for backend, server in members
            if (backend, server) in seen and not seen[backend, server].startswith(("UP", "no check"))
        ]
        if not down or time.monotonic() > deadline:
            return down
        time.sleep(0.25)
