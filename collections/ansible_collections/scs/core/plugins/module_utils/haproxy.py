# SPDX-License-Identifier: Apache-2.0
"""A client of this node's HAProxy over its admin socket.

Source: HAProxy management guide, section 9.3 (unix socket commands), https://docs.haproxy.org/3.0/management.html
"""

from __future__ import annotations

import csv
import os
import socket
import time
from collections.abc import Iterable, Sequence

SOCKET = "/run/scs/haproxy/admin.sock"
SERVERS = "/run/scs/haproxy/servers"
"""Forced states of servers, which HAProxy reads when it starts or reloads (`server-state-file`)."""

KEPT = "/var/lib/scs/haproxy-servers"
"""A copy that survives a reboot; there while some state is to."""
CONFIG = "/etc/scs/haproxy/haproxy.cfg"
"""What HAProxy reads next; it may have changed since HAProxy started."""

UNCHECKED = "_unchecked"
"""Ends the name of a backend with another one's servers, unchecked: it is used while none of them passes its check."""

SECTIONS = ("listen", "backend", "frontend", "peers")
"""First words of sections that may have servers."""

MAINT, DRAIN = 1, 8
"""Bits of a server's administrative state that an operator sets."""


def command(text: str) -> str:
    """The response to a command; empty if HAProxy does not answer."""
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


def started() -> float:
    """Start time of the process that answers, seconds since the epoch; 0 if none answers."""
    for line in command("show info").splitlines():
        if line.startswith("Start_time_sec:"):
            return float(line.partition(":")[2])
    return 0.0


def states() -> dict[tuple[str, str], str]:
    """{(backend, server): status}, status in HAProxy's words: `UP`, `DOWN`, `UP 1/3`, `DRAIN`, `no check` ..."""
    text = command("show stat -1 4 -1").lstrip("# ")
    return {(row["pxname"], row["svname"]): row["status"] for row in csv.DictReader(text.splitlines())}


def servers() -> list[dict[str, str]]:
    """A mapping per server: be_name, srv_name, srv_op_state (2 is up), srv_admin_state (bits), and the whole `line`."""
    lines = [line for line in command("show servers state").splitlines() if line]
    if len(lines) < 2:
        return []
    names = lines[1].lstrip("# ").split()
    return [{**dict(zip(names, line.split(), strict=False)), "line": line} for line in lines[2:]]


def forced(server: dict[str, str]) -> str:
    """The state that an operator or a run forced on a server: ready, drain or maint."""
    bits = int(server["srv_admin_state"])
    return "maint" if bits & MAINT else "drain" if bits & DRAIN else "ready"


def configured() -> dict[tuple[str, str], tuple[str, bool]]:
    """{(backend, server): (port, over TLS)} of the configuration file; empty if it cannot be read."""
    try:
        with open(CONFIG, encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    found, backend = {}, ""
    for words in lines:
        if len(words) > 1 and words[0] in SECTIONS:
            backend = words[1]
        elif len(words) > 2 and words[0] == "server":
            found[backend, words[1]] = (words[2].rpartition(":")[2], "ssl" in words[3:])
    return found


def placed(server: dict[str, str], places: dict[tuple[str, str], tuple[str, bool]]) -> str:
    """A server's line with port and TLS of the configuration, which HAProxy would take from the line; or empty."""
    if not places:
        return server["line"]
    if (key := (server["be_name"], server["srv_name"])) not in places:
        return ""
    port, tls = places[key]
    values = {**server, "srv_port": port, "srv_use_ssl": str(int(tls))}
    del values["line"]
    return " ".join(values.values())


def remember_for_reload() -> None:
    """Write the forced states for a configuration that is loaded now and after a reboot."""
    remember(SERVERS, *((KEPT,) if os.path.exists(KEPT) else ()))


def remember(*paths: str) -> bool:
    """Write the forced states of all servers to files that the next start reads; returns whether they changed.

    Servers without a forced state, or that the configuration no longer has, are left out.
    """
    answer = command("show servers state")
    head = [line for line in answer.splitlines() if line][:2]
    places = configured()
    lines = [*head, *filter(None, (placed(s, places) for s in servers() if forced(s) != "ready"))]
    if len(head) < 2:
        return False
    text = "\n".join(lines) + "\n"
    changed = False
    for path in paths or (SERVERS,):
        try:
            with open(path, encoding="ascii") as file:
                same = file.read() == text
        except OSError:
            same = False
        if not same:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".new", "w", encoding="ascii") as file:
                file.write(text)
            os.replace(path + ".new", path)
            changed = True
    return changed


def wait_up(members: Iterable[Sequence[str]], deadline: float) -> list[tuple[str, str]]:
    """Wait until every (backend, server) that HAProxy knows is up; returns those that are not.

    A drained server counts as up: it works, but deliberately gets no requests.

    :param deadline: of time.monotonic()
    """
    while True:
        seen = states()
        down = [
            (backend, server)
            for backend, server in members
            if (backend, server) in seen and not seen[backend, server].startswith(("UP", "no check", "DRAIN", "MAINT"))
        ]
        if not down or time.monotonic() > deadline:
            return down
        time.sleep(0.25)
