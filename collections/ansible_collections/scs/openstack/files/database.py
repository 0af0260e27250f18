# SPDX-License-Identifier: Apache-2.0
"""Reads from a service's database, using the connection in its configuration file.

With a CA in the URL, the server must prove its name. The parameter `ssl_ca` does that in a URL of SQLAlchemy; given to
PyMySQL alone, it encrypts and verifies nothing.
"""

import configparser
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql


def rows(file: str, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query.

    :raises pymysql.MySQLError: the database does not answer, or rejects the query
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(file)
    url = urlsplit(parser["database"]["connection"])
    ca = parse_qs(url.query).get("ssl_ca", [None])[0]
    connection = pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=url.path.lstrip("/"),
        charset="utf8mb4",
        ssl_ca=ca,
        ssl_verify_cert=bool(ca),
        ssl_verify_identity=bool(ca),
        connect_timeout=5,
        read_timeout=10,
        write_timeout=10,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())
