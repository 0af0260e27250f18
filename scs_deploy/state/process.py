# SPDX-License-Identifier: Apache-2.0
"""Identity of this process, and whether another one is still alive: the kernel's part of locks and run records."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


def owner() -> str:
    """`user@host` of this process's user; with sudo, the user who called it."""
    user = os.environ.get("SUDO_USER")
    if not user:
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
    return f"{user}@{host()}"


def started(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since boot; None if it does not exist.

    The kernel reuses pids, but not a pid together with its start time. Source: proc_pid_stat(5), field 22.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, since: int | None = None) -> bool:
    """Whether a process is alive; with `since` (from `started`), whether it is still the same process."""
    now = started(pid)
    return now is not None and (since is None or now == since)
