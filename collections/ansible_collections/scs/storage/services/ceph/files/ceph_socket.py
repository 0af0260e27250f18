# SPDX-License-Identifier: Apache-2.0
"""Asks a daemon of Ceph on its admin socket, which answers whatever the cluster does.

Source: src/common/admin_socket.cc: a command as JSON, ended by a zero byte; the answer's length in four bytes, the
highest first, and the answer.
"""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

FOLDER = Path("/run/ceph")


class SilentError(Exception):
    """The daemon does not answer, or not with JSON."""


def ask(daemon: str, command: str, folder: Path = FOLDER, timeout: float = 10) -> Any:
    """The answer to a command, e.g. of `mon.a` to `mon_status`.

    :raises SilentError: no daemon listens, it takes too long, or it knows no such command
    """
    path = folder / f"ceph-{daemon}.asok"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps({"prefix": command, "format": "json"}).encode() + b"\0")
            (length,) = struct.unpack(">I", _exactly(connection, 4))
            return json.loads(_exactly(connection, length))
    except (OSError, ValueError) as error:
        raise SilentError(f"{path}: {error}") from None


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise OSError(f"the answer ended after {len(data)} of {count} bytes")
        data += part
    return data
