# SPDX-License-Identifier: Apache-2.0
"""Control groups of nodes: memory usage, CPU shares, and cleanup of the groups that nested engines leave behind.

Nodes share the manager's cgroup tree, so the group of a nested container is a sibling of its node's group, unless the
nested engine is configured otherwise (`engine_options`), which cgroups version 2 do not allow. The node's own group
therefore does not always cover its memory and cleanup. Processes are found through their parents instead.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

WEIGHT = 2
"""CPU weight of one node relative to all processes of the manager, which is a separate machine in a real region."""


def processes(pid: int) -> list[int]:
    """`pid` and all its descendants; empty if it has ended."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # the command, in parentheses, can contain spaces
            parent = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    tree, todo = [], [pid] if pid and (PROC / str(pid)).is_dir() else []
    while todo:
        process = todo.pop()
        tree.append(process)
        todo.extend(children.get(process, ()))
    return tree


def memory_of_tree(pid: int) -> int:
    """Memory of `pid` and its descendants in bytes: proportional set size, which counts shared pages once."""
    total = 0
    for process in processes(pid):
        with suppress(OSError, ValueError):
            for line in (PROC / str(process) / "smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def all_nodes(testbed: str, driver: str) -> str:
    """The control group of a testbed's nodes, for the engine's option `--cgroup-parent`.

    :param driver: the engine's cgroup driver, `cgroupfs` or `systemd`
    """
    # a dash in the name of a slice means a nesting level
    return f"scs_{testbed.replace('-', '_')}.slice" if driver == "systemd" else f"/scs-{testbed}"


def weigh(group: str, nodes: int) -> None:
    """Set the CPU weight of all nodes. Without it, one busy Ansible process gets as much CPU time as all of them."""
    if group.endswith(".slice"):
        command = ["systemctl", "set-property", "--runtime", group, f"CPUWeight={min(100 * WEIGHT * nodes, 10000)}"]
        with suppress(OSError):
            subprocess.run(command, check=False, capture_output=True)
        return
    folder = group.lstrip("/")
    for file, one in ((CGROUPS / "cpu" / folder / "cpu.shares", 1024), (CGROUPS / folder / "cpu.weight", 100)):
        if file.exists():
            with suppress(OSError):
                file.write_text(f"{min(one * WEIGHT * nodes, one * 100)}\n", encoding="ascii")


def engine_options(parent: str) -> tuple[str, str]:
    """Path and content of a drop-in for a node's Docker unit that puts its containers in the control group `parent`.

    With the node's own group, nodes get equal CPU shares. Without it, each container of every node has the same share,
    and a node that starts all its containers takes CPU time from the others.
    """
    path = "/etc/systemd/system/docker.service.d/testbed.conf"
    return path, f"[Service]\nEnvironment=DOCKER_OPTS=--cgroup-parent={parent}\n"


def of_nested_containers(pid: int) -> frozenset[str]:
    """Control groups (paths below the root) of the descendants of `pid` that are outside of its own group."""
    own = frozenset(_groups(pid))
    return frozenset(
        path
        for process in processes(pid)
        for path in _groups(process)
        if path.startswith("/docker/") and not any(path == o or path.startswith(o + "/") for o in own)
    )


def remove(groups: Iterable[str]) -> None:
    """Remove these control groups from every hierarchy, except for those in use."""
    roots = [CGROUPS, *(p for p in CGROUPS.iterdir() if p.is_dir())]
    for path in sorted(groups, key=len, reverse=True):
        for root in roots:
            with suppress(OSError):
                (root / path.lstrip("/")).rmdir()


def _groups(pid: int) -> list[str]:
    with suppress(OSError):
        lines = (PROC / str(pid) / "cgroup").read_text(encoding="ascii").splitlines()
        return sorted({line.split(":", 2)[2] for line in lines} - {"/"})
    return []
