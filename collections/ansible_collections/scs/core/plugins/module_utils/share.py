# SPDX-License-Identifier: Apache-2.0
"""How much of its node's processors a container gets while others want them too, and the engine that unpacks images.

A container that starts, or a job, computes for seconds, and nobody waits for it; those beside it answer users.

Source: cgroups(7). Written to the kernel's files, not to Docker's configuration: what starts anew has the usual share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
        _write(path, f"{USUAL[os.path.basename(path)] * part:.0f}")


@contextmanager
def idle(pid: int, container: int) -> Iterator[None]:
    """Let a process, and all of its control group, compute only what the containers of its node leave.

    One that waits for such a process runs at once, whatever their shares: the kernel's policy SCHED_IDLE for groups.
    The group that yields is the one beside the containers': of the engine, or of all services where containers are not
    among those. Kernels before 5.15 have nothing of that.

    :param pid: 0: there is none
    :param container: main process of any container; 0: there is none
    """
    theirs = _groups(container)
    both = [(own, theirs[top]) for top, own in _groups(pid).items() if top in theirs]
    groups = [group for own, other in both if (group := _beside(own, other))]
    shares = {}
    for group in groups:
        for name in USUAL:
            # what an interrupted run left idle had a share that nobody knows any more
            if _read(os.path.join(group, "cpu.idle")) == "0" and (share := _read(os.path.join(group, name))):
                shares[os.path.join(group, name)] = share
        _write(os.path.join(group, "cpu.idle"), "1")
    try:
        yield
    finally:
        for group in groups:
            _write(os.path.join(group, "cpu.idle"), "0")
        for path, share in shares.items():
            _write(path, share)


def _groups(pid: int) -> dict[str, str]:
    """Folders of a process's control group, by the hierarchies that could have the controller of processors."""
    found = {}
    for line in _read(f"/proc/{pid}/cgroup").splitlines() if pid else []:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            top = os.path.join(CGROUPS, "cpu") if controllers else CGROUPS
            found[top] = os.path.normpath(top + path)
    return found


def _files(pid: int) -> list[str]:
    """The kernel's files for the share of a process's control group; none where it does not have that controller."""
    paths = [os.path.join(group, name) for group in _groups(pid).values() for name in USUAL]
    return [path for path in paths if os.path.exists(path)]


def _beside(own: str, other: str) -> str | None:
    """A group's path down to where it leaves the other's; None: one is within the other."""
    common = os.path.commonpath([own, other])
    return None if common in (own, other) else os.path.join(common, os.path.relpath(own, common).split("/")[0])


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        # no reason for a region to stop
        return
