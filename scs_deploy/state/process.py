# SPDX-License-Identifier: Apache-2.0
"""Which process is this, and does one still live: the part of locks and run records that asks the kernel."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


def owner() -> str:
    """`user@host` of whoever runs this process; the user behind sudo where there is one."""
    user = os.environ.get("SUDO_USER")
    if not user:
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
    return f"{user}@{host()}"


def started(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since boot; None: there is no such process.

    A pid alone is reused; pid and start time together are not. Source: proc_pid_stat(5), field 22.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, since: int | None = None) -> bool:
    """Whether a process lives; with `since` (as from `started`), whether it is that very process."""
    now = started(pid)
    return now is not None and (since is None or now == since)
