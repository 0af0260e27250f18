# SPDX-License-Identifier: Apache-2.0
"""Lists this node's TCP connections to servers, and closes idle ones.

Source: ss(8), options --info and --kill; the kernel needs CONFIG_INET_DIAG_DESTROY, which distributions set.
"""

from __future__ import annotations

import re
import subprocess

IDLE = 1000
"""Milliseconds without a byte in either direction after which a connection counts as idle."""

AT_ONCE = 10
"""Number of connections that one command closes: few enough that none of them becomes active meanwhile."""


def established(servers: list[str]) -> dict[tuple[str, str], int]:
    """{(local, server): milliseconds since its last byte} of connections to servers, all as `address:port`."""
    command = ["ss", "--tcp", "--info", "--numeric", "--no-header", "--oneline", "state", "established"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    connections = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) < 4 or words[3] not in servers:
            continue
        # ss omits a time of 0
        last = [re.search(rf" {name}:(\d+)", line) for name in ("lastsnd", "lastrcv")]
        connections[(words[2], words[3])] = min(int(match.group(1)) if match else 0 for match in last)
    return connections


def end_idle(mine: set[tuple[str, str]]) -> None:
    """Close the idle ones of these connections and remove them from `mine`. Both sides notice."""
    while some := [p for p, last in established([s for _, s in mine]).items() if p in mine and last >= IDLE][:AT_ONCE]:
        chosen = " or ".join(f"( src {local} and dst {server} )" for local, server in some)
        command = ["ss", "--tcp", "--no-header", "--kill", "state", "established", chosen]
        subprocess.run(command, capture_output=True, timeout=30, check=False)
        mine.difference_update(some)
