# SPDX-License-Identifier: Apache-2.0
"""What a node's processes use, its share of the processors, and the groups that its nested engine leaves behind.

Nodes share the manager's cgroup tree, so a nested container's group is a sibling of its node's unless the nested engine
is told otherwise (`engine_options`), which control groups of version 2 do not allow: neither memory nor clean-up can be
had from the node's own group everywhere. Processes are found by their parents instead.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

WEIGHT = 2
"""Parts of the processors for one node, where all that its manager does has one: elsewhere that is another machine."""


def processes(pid: int) -> list[int]:
    """All processes below `pid`, itself included; empty when it has ended."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # the command, in parentheses, may hold spaces
            parent = int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid] if pid and (PROC / str(pid)).is_dir() else []
    while todo:
        process = todo.pop()
        found.append(process)
        todo.extend(children.get(process, ()))
    return found


def memory_of_tree(pid: int) -> int:
    """Bytes of memory of all processes below `pid`: proportional set size, shared pages counted once."""
    total = 0
    for process in processes(pid):
        with suppress(OSError, ValueError):
            for line in (PROC / str(process) / "smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def all_nodes(testbed: str, driver: str) -> str:
    """The control group of a testbed's nodes, as the engine's option `--cgroup-parent` takes it.

    :param driver: of the engine's control groups, `cgroupfs` or `systemd`
    """
    # in a slice's name a dash stands for a level
    return f"scs_{testbed.replace('-', '_')}.slice" if driver == "systemd" else f"/scs-{testbed}"


def weigh(group: str, nodes: int) -> None:
    """Give all nodes together their part of the processors; without, one busy Ansible has as much as all of them."""
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
    """Path and content of a drop-in of a node's Docker unit: its containers go into the control group `parent`.

    With the node's own group, nodes share the processors evenly. Without, each container of every node has the same
    share, and a node that starts all of its containers takes the processors from the others.
    """
    path = "/etc/systemd/system/docker.service.d/testbed.conf"
    return path, f"[Service]\nEnvironment=DOCKER_OPTS=--cgroup-parent={parent}\n"


def of_nested_containers(pid: int) -> frozenset[str]:
    """Control groups (paths below the root) of the processes below `pid` that are not inside its own group."""
    own = frozenset(_groups(pid))
    return frozenset(
        path
        for process in processes(pid)
        for path in _groups(process)
        if path.startswith("/docker/") and not any(path == o or path.startswith(o + "/") for o in own)
    )


def remove(groups: Iterable[str]) -> None:
    """Remove these control groups from every hierarchy; one that is in use stays."""
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
