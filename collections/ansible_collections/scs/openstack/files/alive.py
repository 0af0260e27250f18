#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Health of a process without an API: exits 0 while this container holds a TCP connection to each port given."""

import os
import sys

ESTABLISHED = "01"


def sockets() -> set[str]:
    """Inodes of the sockets of this container's processes, also where the pid namespace is the host's."""
    here = os.readlink("/proc/self/ns/mnt")
    found: set[str] = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == here:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if target.startswith("socket:["):
                        found.add(target[8:-1])
        except OSError:
            # it ended meanwhile, or belongs to somebody else
            continue
    return found


def connected(own: set[str]) -> set[int]:
    """Remote ports of the established connections among them."""
    ports: set[int] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as stream:
                rows = [line.split() for line in stream][1:]
        except FileNotFoundError:
            continue
        ports |= {int(row[2].rpartition(":")[2], 16) for row in rows if row[3] == ESTABLISHED and row[9] in own}
    return ports


def main(ports: list[str]) -> None:
    missing = {int(port) for port in ports} - connected(sockets())
    if missing:
        sys.exit(f"no connection to port {', '.join(map(str, sorted(missing)))}")


if __name__ == "__main__":
    main(sys.argv[1:])
