# SPDX-License-Identifier: Apache-2.0
"""Follows the console of the fault tests' guest, on whichever node it runs.

QEMU writes a guest's console to a file on its node and begins it anew with each start of the guest. It is read through
/proc, past the node's network and past every API: nothing runs on the node for it, and what was read stays known.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from tests.fault import layout
from tests.fault.faults import FaultError, Node
from tests.fault.layout import Write

INTERVAL = 0.25
LOOK = 2.0
"""Seconds until a node without the file is looked at again."""


class Tail:
    """New lines of a file that may be replaced, truncated or absent."""

    def __init__(self) -> None:
        self._inode, self._offset, self._rest = 0, 0, b""

    def read(self, path: Path) -> list[str]:
        """Whole lines since the last time.

        :raises OSError: the file cannot be read
        """
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_ino != self._inode or state.st_size < self._offset:
                self._inode, self._offset, self._rest = state.st_ino, 0, b""
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


class Console:
    """What a server's console says, from `start` to `stop`."""

    def __init__(self, nodes: Iterable[Node], server: str) -> None:
        self._path = f"/var/lib/nova/instances/{server}/console.log"
        self._nodes = {node: Tail() for node in nodes}
        self._roots: dict[Node, Path] = {}
        self._later: dict[Node, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="guest console", daemon=True)
        self.writes: dict[int, Write] = {}
        """number: what the guest said of it"""
        self.lines: list[str] = []
        """the last ones of any kind"""

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def now(self) -> dict[int, Write]:
        """All writes that the guest told of so far."""
        self.read()
        with self._lock:
            return dict(self.writes)

    def read(self) -> None:
        """Read what is new."""
        with self._lock:
            for node, tail in self._nodes.items():
                if time.monotonic() < self._later.get(node, 0.0):
                    continue
                try:
                    self._take(tail.read(self._root(node) / self._path.lstrip("/")))
                except OSError:
                    self._later[node] = time.monotonic() + LOOK

    def _take(self, lines: list[str]) -> None:
        seen = time.time()
        for line in lines:
            write = layout.parse(line, seen)
            if write:
                self.writes.setdefault(write.number, write)
        self.lines = (self.lines + [text for line in lines if (text := line.strip())])[-20:]

    def _root(self, node: Node) -> Path:
        """The node's root directory.

        :raises OSError: it does not run
        """
        root = self._roots.get(node)
        if root is None or not root.is_dir():
            try:
                root = Path(f"/proc/{node.pid}/root")
            except (FaultError, ValueError):
                raise FileNotFoundError(f"{node} is gone") from None
            self._roots[node] = root
        return root

    def _follow(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.read()
