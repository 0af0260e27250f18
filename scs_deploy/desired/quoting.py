# SPDX-License-Identifier: Apache-2.0
"""Filters that quote a value so that a format's parser returns it unchanged. Values that need no quotes stay plain."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from urllib.parse import quote

from scs_deploy.base import ini
from scs_deploy.base.model import at

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+=,-]*")


def oslo(value: object) -> str:
    """A value in an oslo.config file, where `$name` refers to another option.

    https://docs.openstack.org/oslo.config/latest/configuration/format.html#substitution
    """
    return ini.quoted(str(value).replace("$", r"\$"))


def cnf(value: object) -> str:
    """A value in a MariaDB option file."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else ini.quoted(text, ini.CNF)


def in_quotes(value: object) -> str:
    """A part of a double-quoted value in a MariaDB option file or a curl config file.

    https://curl.se/docs/manpage.html#-K
    """
    return ini.quoted(str(value), ini.CNF)[1:-1]


def sql(value: object) -> str:
    """A part of a single-quoted string in MariaDB's default SQL mode."""
    return str(value).replace("\\", r"\\").replace("'", "''")


def rabbitmq(value: object) -> str:
    """A value in rabbitmq.conf. https://www.rabbitmq.com/docs/configure#config-file-formats

    :raises ValueError: the format cannot hold it
    """
    text = str(value)
    if re.search(r"['\x00-\x1f\x7f]", text) or "$(" in text:
        raise ValueError("rabbitmq.conf cannot hold a value with ' or $(; choose one without, with scs secrets edit")
    return text if _PLAIN.fullmatch(text) else f"'{text}'"


def at_port(address: object, port: int) -> str:
    """`address:port`, with an IPv6 address in brackets."""
    return at(str(address), port)


def in_url(address: object) -> str:
    """An address as URLs and `Host:` headers have it: IPv6 in brackets."""
    return f"[{address}]" if ":" in str(address) else str(address)


FILTERS: Mapping[str, Callable[..., str]] = {
    "at": at_port,
    "to_json": json.dumps,
    "quote": lambda value: shlex.quote(str(value)),
    "oslo": oslo,
    "cnf": cnf,
    "in_quotes": in_quotes,
    "sql": sql,
    "rabbitmq": rabbitmq,
    "in_url": in_url,
    "url": lambda value: quote(str(value), safe=""),
}
