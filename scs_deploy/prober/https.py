# SPDX-License-Identifier: Apache-2.0
"""HTTPS requests of a prober: TLS verified with the region's CA, and a limited number of requests per connection."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0
"""Seconds until a request times out."""

IDLE = 15.0
"""Seconds after which an idle connection is not reused: below HAProxy's `timeout http-keep-alive`."""

PROBLEMS = (OSError, http.client.HTTPException, ValueError, LookupError)
"""Errors of a request in addition to `ApiError`. The last two mean an invalid response."""


class ApiError(Exception):
    """A response with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.text = status, text


class _Connection(http.client.HTTPSConnection):
    """A connection to a given address that verifies the server's name and counts its requests."""

    def __init__(self, name: str, port: int, address: str, timeout: float, tls: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=timeout, context=tls)
        self._address, self._tls = address, tls
        self.requests, self.used = 0, 0.0

    def connect(self) -> None:
        """Connect. The timeout includes the TLS handshake."""
        begin = time.monotonic()
        timeout = float(self.timeout or TIMEOUT)
        plain = socket.create_connection((self._address, self.port), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(max(timeout - (time.monotonic() - begin), 0.1))
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    @property
    def fit(self) -> bool:
        """Whether the connection is still open."""
        idle = time.monotonic() - self.used
        return self.sock is not None and idle < IDLE and not select.select([self.sock], [], [], 0)[0]


class Https:
    """Requests over TLS.

    :param ca: the region's CA
    :param timeout: seconds for a request, including the connection
    :param reuse: requests per connection; 1 measures clients that reconnect for each request
    :param addresses: name: address, for names that this machine may not resolve
    """

    def __init__(
        self, ca: Path, timeout: float = TIMEOUT, reuse: int = 1, addresses: Mapping[str, str] | None = None
    ) -> None:
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._timeout, self._reuse, self._addresses = timeout, reuse, addresses or {}
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._lock = threading.Lock()

    def __call__(
        self, method: str, url: str, token: str = "", body: Any = None, timeout: float = 0
    ) -> tuple[dict[str, str], Any]:
        """Send a request. Returns the headers in lower case, and the decoded body, or None if it is not JSON.

        :raises ApiError: the status is not 2xx
        :raises OSError, http.client.HTTPException: no response in time
        """
        parts = urlsplit(url)
        timeout = timeout or self._timeout
        end = time.monotonic() + timeout
        connection = self._take(str(parts.hostname), parts.port or 443, timeout)
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(max(end - time.monotonic(), 0.1))
            headers = {"Accept": "application/json"}
            connection.requests += 1
            last = connection.requests >= self._reuse
            if last:
                headers["Connection"] = "close"
            if token:
                headers["X-Auth-Token"] = token
            payload = None
            if body is not None:
                payload = json.dumps(body)
                headers["Content-Type"] = "application/json"
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, payload, headers)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if last or answer.will_close:
            connection.close()
        else:
            self._give(connection)
        if answer.status // 100 != 2:
            raise ApiError(answer.status, content[:300].decode(errors="replace"))
        received = {k.lower(): v for k, v in answer.getheaders()}
        is_json = content and "json" in received.get("content-type", "json")
        return received, json.loads(content) if is_json else None

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _take(self, name: str, port: int, timeout: float) -> _Connection:
        with self._lock:
            kept = self._idle.get((name, port), [])
            while kept:
                connection = kept.pop()
                if connection.fit:
                    return connection
                connection.close()
        return _Connection(name, port, self._addresses.get(name, name), timeout, self._tls)

    def _give(self, connection: _Connection) -> None:
        connection.used = time.monotonic()
        with self._lock:
            self._idle.setdefault((connection.host, connection.port), []).append(connection)


def say(error: BaseException) -> str:
    """The reason why a request failed. The same kind of failure always yields the same text."""
    if isinstance(error, ApiError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (ConnectionError, http.client.IncompleteRead, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "connection closed"
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error
        return f"TLS: {why}"[:120]
    if isinstance(error, socket.gaierror):
        return "name not resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()[:120]
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:120].rstrip(": ")
