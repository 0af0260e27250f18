#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Health check of a process without an API: exits 0 if this container has a TCP connection to each given port.

A path is a Unix socket that no other container uses, and that must have a connection.
"""

import os
import sys

ESTABLISHED = "01"
CONNECTED = "03"
"""Of a TCP socket, and of a Unix socket that was accepted, which has the path of the one that listens."""


def sockets() -> set[str]:
    """Inodes of the sockets of this container's processes, even if it shares the host's pid namespace."""
    here = os.readlink("/proc/self/ns/mnt")
    inodes: set[str] = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == here:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
        except OSError:
            # it has exited, or belongs to another user
            continue
    return inodes


def connected(own: set[str]) -> set[int]:
    """Remote ports of the established connections among these sockets."""
    ports: set[int] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as stream:
                rows = [line.split() for line in stream][1:]
        except FileNotFoundError:
            continue
        ports |= {int(row[2].rpartition(":")[2], 16) for row in rows if row[3] == ESTABLISHED and row[9] in own}
    return ports


def used() -> set[str]:
    """Paths of the Unix sockets of this network namespace that have a connection."""
    with open("/proc/net/unix") as stream:
        rows = [line.split() for line in stream][1:]
    return {row[7] for row in rows if len(row) > 7 and row[5] == CONNECTED}


def main(words: list[str]) -> None:
    paths = {w for w in words if w.startswith("/")}
    missing = {int(w) for w in words if w not in paths} - connected(sockets())
    if missing:
        sys.exit(f"no connection to port {', '.join(map(str, sorted(missing)))}")
    if paths - used():
        sys.exit(f"no connection to {', '.join(sorted(paths - used()))}")


if __name__ == "__main__":
    main(sys.argv[1:])
