# SPDX-License-Identifier: Apache-2.0
"""How much of its node's processors a container gets while others want them too.

One that starts, or a job, computes for seconds, and nobody waits for it; those beside it answer users.

Source: cgroups(7). Written to the kernel's files, not to Docker's configuration: what starts anew has the usual share.
"""

from __future__ import annotations

import os

CGROUPS = "/sys/fs/cgroup"

USUAL = {"cpu.shares": 1024, "cpu.weight": 100}
"""File of control groups of version 1 and 2: what the kernel writes into a new group's."""

LITTLE = 0.25
"""Part of the usual share for one that nobody waits for."""


def give(pid: int, part: float) -> None:
    """Give a container a part of the usual share; one that has ended needs none.

    :param pid: of its main process
    """
    for path in _files(pid):
        try:
            with open(path, "w") as file:
                file.write(f"{USUAL[os.path.basename(path)] * part:.0f}")
        except OSError:
            # no reason for a region to stop
            continue


def _files(pid: int) -> list:
    """The kernel's files for the share of a process's control group; none where it does not have that controller."""
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found.append(os.path.join(CGROUPS, path.lstrip("/"), "cpu.weight"))
        elif "cpu" in controllers.split(","):
            found.append(os.path.join(CGROUPS, "cpu", path.lstrip("/"), "cpu.shares"))
    return [path for path in found if os.path.exists(path)]
