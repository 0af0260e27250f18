# SPDX-License-Identifier: Apache-2.0
"""CPU shares of containers on a busy node, and of the engine while it unpacks images.

A starting container or a job uses the CPU for seconds, and no user waits for it; the other containers serve users.

Source: cgroups(7). Written to the kernel's files, not to Docker's configuration, so a restart resets the share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

CGROUPS = "/sys/fs/cgroup"

USUAL = {"cpu.shares": 1024, "cpu.weight": 100}
"""File in control groups of version 1 and 2: the kernel's default value."""

LITTLE = 0.25
"""Fraction of the usual share for a container that no user waits for."""


def give(pid: int, part: float) -> None:
    """Give a container a fraction of the usual share. It may have exited.

    :param pid: its main process
    """
    for path in _files(pid):
        _write(path, f"{USUAL[os.path.basename(path)] * part:.0f}")


@contextmanager
def idle(pid: int, container: int) -> Iterator[None]:
    """Give a process and its whole control group only CPU time that the node's containers do not use.

    This is the kernel's policy SCHED_IDLE for groups: any other process preempts them at once, regardless of shares.
    The group that yields is a sibling of the containers' group: that of the engine, or that of all services if these
    do not include the containers. Kernels before 5.15 do not support this.

    :param pid: 0: none
    :param container: main process of any container; 0: none
    """
    theirs = _groups(container)
    both = [(own, theirs[top]) for top, own in _groups(pid).items() if top in theirs]
    groups = [group for own, other in both if (group := _beside(own, other))]
    shares = {}
    for group in groups:
        for name in USUAL:
            # the earlier share of a group that an interrupted run left idle is unknown
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
    """Folders of a process's control group, by the hierarchies that may have the CPU controller."""
    groups = {}
    for line in _read(f"/proc/{pid}/cgroup").splitlines() if pid else []:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            top = os.path.join(CGROUPS, "cpu") if controllers else CGROUPS
            groups[top] = os.path.normpath(top + path)
    return groups


def _files(pid: int) -> list[str]:
    """The kernel's files with the CPU share of a process's control group; empty without that controller."""
    paths = [os.path.join(group, name) for group in _groups(pid).values() for name in USUAL]
    return [path for path in paths if os.path.exists(path)]


def _beside(own: str, other: str) -> str | None:
    """The ancestor of `own` that is a sibling of an ancestor of `other`; None if one group contains the other."""
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
        # not important enough to fail
        return
