# SPDX-License-Identifier: Apache-2.0
"""What the prober asks with: one HTTPS request or one database session, each on a connection of its own.

Connections are not kept: a client that comes anew is what a fault must not lock out.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql

TIMEOUT = 5.0
"""Seconds until the prober gives a request up."""


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.text = status, text


class Https:
    """Requests over TLS that is verified with the region's CA."""

    def __init__(self, ca: Path, timeout: float = TIMEOUT) -> None:
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._timeout = timeout

    def __call__(
        self, method: str, url: str, token: str = "", body: Any = None, timeout: float = 0
    ) -> tuple[dict[str, str], Any]:
        """Headers in lower case, and the decoded body.

        :raises ApiError: the status is not 2xx
        :raises OSError, http.client.HTTPException: no answer in time
        """
        timeout = timeout or self._timeout
        parts = urlsplit(url)
        begin = time.monotonic()
        connection = http.client.HTTPSConnection(
            str(parts.hostname), parts.port or 443, timeout=timeout, context=self._tls
        )
        try:
            connection.connect()
            # connecting and answering share the time
            connection.sock.settimeout(max(timeout - (time.monotonic() - begin), 0.1))
            headers = {"Accept": "application/json", "Connection": "close"}
            if token:
                headers["X-Auth-Token"] = token
            payload = None
            if body is not None:
                payload = json.dumps(body)
                headers["Content-Type"] = "application/json"
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request(method, target, payload, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status // 100 != 2:
            raise ApiError(answer.status, content[:300].decode(errors="replace"))
        return {k.lower(): v for k, v in answer.getheaders()}, json.loads(content) if content else None


def database(host: str, password: str, ca: Path, timeout: float = TIMEOUT, schema: str | None = None) -> Any:
    """A session with MariaDB as its administrator over verified TLS, autocommit off; `host` stands in the certificate.

    :raises pymysql.Error, OSError: no session in time
    """
    return pymysql.connect(
        host=host,
        user="root",
        password=password,
        database=schema,
        ssl_ca=str(ca),
        ssl_verify_cert=True,
        ssl_verify_identity=True,
        connect_timeout=max(round(timeout), 1),
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=False,
    )


def say(error: BaseException) -> str:
    """An error in one short line, without what differs from one request to the next."""
    if isinstance(error, ApiError):
        return str(error)
    if isinstance(error, pymysql.Error) and error.args:
        return f"MariaDB {error.args[0]}: {str(error.args[-1])[:100]}"
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:120].rstrip(": ")
