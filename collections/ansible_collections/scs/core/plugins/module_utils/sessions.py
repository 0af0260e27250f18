# SPDX-License-Identifier: Apache-2.0
"""This node's TCP connections to servers, and their end while they are idle.

Source: ss(8), options --info and --kill; the kernel needs CONFIG_INET_DIAG_DESTROY, which distributions set.
"""

from __future__ import annotations

import re
import subprocess

IDLE = 1000
"""Milliseconds without a byte in either direction after which a connection does nothing."""

AT_ONCE = 10
"""Connections that one command ends: few enough that none of them has begun to work meanwhile."""


def established(servers: list[str]) -> dict[tuple[str, str], int]:
    """{(local, server): milliseconds since its last byte} of connections to servers, all as `address:port`."""
    command = ["ss", "--tcp", "--info", "--numeric", "--no-header", "--oneline", "state", "established"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) < 4 or words[3] not in servers:
            continue
        # what happened just now is not printed
        last = [re.search(rf" {name}:(\d+)", line) for name in ("lastsnd", "lastrcv")]
        found[(words[2], words[3])] = min(int(match.group(1)) if match else 0 for match in last)
    return found


def end_idle(mine: set[tuple[str, str]]) -> None:
    """End those of these connections that are idle, and forget them; both sides see it."""
    while some := [p for p, last in established([s for _, s in mine]).items() if p in mine and last >= IDLE][:AT_ONCE]:
        chosen = " or ".join(f"( src {local} and dst {server} )" for local, server in some)
        command = ["ss", "--tcp", "--no-header", "--kill", "state", "established", chosen]
        subprocess.run(command, capture_output=True, timeout=30, check=False)
        mine.difference_update(some)
