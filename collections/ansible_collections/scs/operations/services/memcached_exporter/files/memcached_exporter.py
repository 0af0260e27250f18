#!/usr/bin/python3 -S
# SPDX-License-Identifier: Apache-2.0
"""Metrics of this host's memcached: asks it over TLS, with the password of the services, as they do.

Takes memcached's address and the port to show them at.
Source: https://github.com/memcached/memcached/blob/master/doc/protocol.txt, "General-purpose statistics"
"""

import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from exposition import Sample, serve, text

PORT = 11212
CA = "/etc/scs/ca.crt"
USERS = Path(__file__).with_name("users")
PATIENCE = 10
"""Seconds."""

STATISTICS = {
    "uptime": ("memcached_uptime_seconds", "since it was started"),
    "curr_connections": ("memcached_connections", "clients"),
    "max_connections": ("memcached_connections_max", "clients that it takes"),
    "rejected_connections": ("memcached_connections_rejected_total", "clients that it refused"),
    "curr_items": ("memcached_items", "values that it has"),
    "bytes": ("memcached_bytes", "memory of its values"),
    "limit_maxbytes": ("memcached_bytes_max", "memory that values may have"),
    "evictions": ("memcached_evictions_total", "values that made room for others before their time"),
    "cmd_set": ("memcached_sets_total", "values that it was given"),
    "get_hits": ("memcached_hits_total", "questions that it had the value for"),
    "get_misses": ("memcached_misses_total", "questions that it had no value for"),
}
HELP = {"memcached_up": "1 if it takes the password and answers", **dict(STATISTICS.values())}


def ask(address: str) -> dict[str, str]:
    """All statistics.

    :raises OSError: it does not answer, or its certificate is wrong
    :raises ValueError: it does not take the password
    """
    login = USERS.read_text().split("\n", 1)[0].replace(":", " ", 1).encode()
    context = ssl.create_default_context(cafile=CA)
    with (
        socket.create_connection((address, PORT), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=address) as connection,
    ):
        connection.sendall(b"set login 0 0 %d\r\n%s\r\nstats\r\nquit\r\n" % (len(login), login))
        said = b""
        while part := connection.recv(65536):
            said += part
    first, *lines = said.decode(errors="replace").split("\r\n")
    if first != "STORED":
        raise ValueError(f"memcached does not take the password: {first[:80]}")
    return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT ") and line.count(" ") > 1)


def samples(address: str) -> Iterator[Sample]:
    """Whether it answers, and what it says."""
    try:
        said = ask(address)
    except (OSError, ValueError) as error:
        print(f"memcached does not answer: {error}", file=sys.stderr, flush=True)
        yield "memcached_up", {}, 0
        return
    yield "memcached_up", {}, 1
    for key, (name, _) in STATISTICS.items():
        if key in said:
            yield name, {}, float(said[key])


if __name__ == "__main__":
    serve(int(sys.argv[2]), lambda: text(samples(sys.argv[1]), HELP))
