# SPDX-License-Identifier: Apache-2.0
"""Measurements from outside: latencies, HTTP and WebSocket. Independent of OpenStack and of checks."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests

HTTP_TIMEOUT = 15.0


def percentile(samples: Sequence[float], share: float) -> float:
    """The `share` (0..1) quantile, with linear interpolation between samples.

    :raises ValueError: no samples
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    at = (len(ordered) - 1) * share
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def seconds(action: Callable[[], object]) -> float:
    """The duration of `action` in seconds, wall clock."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def repeat(times: int, action: Callable[[], object]) -> list[float]:
    """The durations of several calls of `action` in seconds."""
    return [seconds(action) for _ in range(times)]


def until(condition: Callable[[], bool], deadline: float, interval: float = 1.0) -> bool:
    """Poll until `condition` is true (returns True) or `deadline` seconds have passed (returns False)."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(interval)
    return True


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    body: str
    seconds: float


def http_get(url: str, ca: Path | None = None, timeout: float = HTTP_TIMEOUT) -> Answer:
    """GET a URL without following redirects. TLS is verified with `ca`.

    :raises OSError: no response, or the CA did not sign the certificate (requests' errors are OSErrors)
    """
    start = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(url, verify=str(ca) if ca else True, timeout=timeout, allow_redirects=False)
    return Answer(response.status_code, response.text, time.monotonic() - start)


def websocket_greeting(url: str, ca: Path, path: str, timeout: float = HTTP_TIMEOUT) -> tuple[int, bytes]:
    """Open a WebSocket (RFC 6455) on the host of an https URL. Returns the HTTP status and the first frame's payload.

    :param path: path and query of the request, e.g. `/websockify?token=...`
    :raises OSError: no response, or an invalid certificate
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection((host, parts.port or 443), timeout=timeout) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
        tls.makefile("rwb") as stream,
    ):
        key = base64.b64encode(os.urandom(16)).decode()
        stream.write(
            (
                f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: https://{parts.netloc}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )
        stream.flush()
        words = stream.readline().split()
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        while stream.readline().strip():
            pass
        if status != 101:
            return status, b""
        header = stream.read(2)
        length = header[1] & 0x7F if len(header) == 2 else 0
        return status, stream.read(length) if length < 126 else b""


def console_path(url: str) -> str:
    """The WebSocket's path, from the `path` parameter of a noVNC page's URL."""
    path = parse_qs(urlsplit(url).query).get("path", ["websockify"])[0]
    return path if path.startswith("/") else f"/{path}"
