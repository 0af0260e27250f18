# SPDX-License-Identifier: Apache-2.0
"""What the prober of the fault tests asks with besides HTTPS: one database session, on a connection of its own.

Connections are not kept: a client that comes anew is what a fault must not lock out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql
import requests

from scs_deploy.prober import https
from scs_deploy.prober.https import TIMEOUT


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
    if isinstance(error, pymysql.Error) and error.args:
        return f"MariaDB {error.args[0]}: {str(error.args[-1])[:100]}"
    if isinstance(error, requests.RequestException):
        return "timeout" if isinstance(error, requests.Timeout) else https.say(_origin(error))
    return https.say(error)


def _origin(error: BaseException) -> BaseException:
    """The error that another one was made of; the texts of those in between name the URL."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
