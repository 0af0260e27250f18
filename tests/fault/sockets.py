# SPDX-License-Identifier: Apache-2.0
"""Questions to daemons over their Unix sockets, reached through /proc of the node: no process is started on it.

A `docker exec` into a nested container costs a tenth of a second of processor; asked every other second of three nodes,
that would be the load that the tests measure.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

TIMEOUT = 5.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = _connect(self._path)


def docker(path: str, url: str) -> Any:
    """A GET of the Docker Engine API, decoded.

    :raises OSError, http.client.HTTPException, ValueError: no proper answer
    """
    connection = _UnixConnection(path)
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"Docker: {url}: HTTP {answer.status}")
    return json.loads(content)


def haproxy(path: str, command: str) -> str:
    """A command of HAProxy's runtime API (management guide, 9.3).

    :raises OSError: no answer
    """
    with _connect(path) as connection:
        connection.sendall(command.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def unixctl(path: str, method: str, *arguments: str) -> str:
    """A command of an OVS or OVN daemon, as ovs-appctl(8) sends it: JSON-RPC 1.0.

    :raises OSError, ValueError: no proper answer
    """
    with _connect(path) as connection:
        connection.sendall(json.dumps({"method": method, "params": list(arguments), "id": 0}).encode())
        text = b""
        while part := connection.recv(65536):
            text += part
            try:
                answer = json.loads(text)
                break
            except ValueError:
                continue
        else:
            raise ValueError(f"{method}: the connection ended")
    if answer.get("error"):
        raise ValueError(f"{method}: {answer['error']}")
    return str(answer["result"])


def _connect(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(TIMEOUT)
    try:
        found.connect(path)
    except OSError:
        found.close()
        raise
    return found
