# SPDX-License-Identifier: Apache-2.0
"""New lines of containers, from the files of the engine's json-file logging driver.

A file is read by its open descriptor, so that neither a rotation nor the container's end takes what was not yet sent.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

from log_lines import Reading, fields

CHUNK = 1 << 20
"""Bytes that are read at once, and the longest line: the engine divides lines after 16 KiB."""

ROTATED = (*(f".{number}" for number in range(9, 0, -1)), "")
"""Suffixes of a container's files, the oldest first: the engine keeps as many as its option `max-file` says."""


class Tail:
    """The files of one container, one after the other.

    :param path: of the newest file
    :param inode: of the file that was read last; 0: none was
    :param offset: bytes of it that are confirmed
    :raises OSError: there is no file
    """

    def __init__(self, path: str, labels: dict[str, str], inode: int, offset: int) -> None:
        self.path = path
        self.labels = labels
        self.ended = False
        """its container is gone"""
        self._reading = Reading()
        files = self._files()
        known = next((f for f, i in files if i == inode), None)
        self._file = os.open(known or files[0][0], os.O_RDONLY)
        # one that is shorter now was cut
        self.offset = offset if known and offset <= os.fstat(self._file).st_size else 0
        self._next = self.offset

    @property
    def inode(self) -> int:
        """Of the file that is read."""
        return os.fstat(self._file).st_ino

    def _files(self) -> list[tuple[str, int]]:
        """(path, inode) of the files that there are, the oldest first.

        :raises OSError: there is none
        """
        found: list[tuple[str, int]] = []
        while True:
            before, found = found, []
            for path in (self.path + suffix for suffix in ROTATED):
                if os.path.exists(path):
                    found.append((path, os.stat(path).st_ino))
            # else a rotation came between
            if found and found == before:
                return found
            if not found:
                raise FileNotFoundError(self.path)

    def read(self, number: int) -> Iterator[dict[str, str]]:
        """At most so many new lines of the file."""
        while number > 0:
            data = os.pread(self._file, CHUNK, self._next)
            position, text, time = self._next, "", ""
            for entry in data.splitlines(keepends=True):
                if not entry.endswith(b"\n"):
                    break
                position += len(entry)
                part, stamp = _entry(entry)
                text, time = text + part, time or stamp
                if part and not part.endswith("\n"):
                    continue
                self._next = position
                if text.strip():
                    yield self._row(time, text)
                    number -= 1
                    if number <= 0:
                        return
                text, time = "", ""
            if len(data) < CHUNK:
                return
            if text:
                # longer than any line should be
                self._next = position
                yield self._row(time, text)
                number -= 1

    def _row(self, time: str, text: str) -> dict[str, str]:
        text = text.rstrip("\r\n")
        return {"_time": time, **self.labels, **fields(text, self._reading), "_msg": text}

    def confirm(self) -> bool:
        """What was read has arrived; returns whether that is anything new. At a file's end, goes on to the next one."""
        changed = self.offset != self._next
        self.offset = self._next
        return self._follow() or changed

    def _follow(self) -> bool:
        size = os.fstat(self._file).st_size
        if size < self._next:
            # cut
            self.offset = self._next = 0
        if size != self._next:
            return False
        try:
            files = self._files()
        except OSError:
            # the container is gone
            return False
        inodes = [i for _, i in files]
        following = inodes.index(self.inode) + 1 if self.inode in inodes else 0
        # a last line may have come before the rotation
        if following == len(files) or os.fstat(self._file).st_size != self._next:
            return False
        file = os.open(files[following][0], os.O_RDONLY)
        if os.fstat(file).st_ino != inodes[following]:
            os.close(file)
            return False
        os.close(self._file)
        self._file, self.offset, self._next = file, 0, 0
        return True

    def rewind(self) -> None:
        """What was read has not arrived: it is read once more."""
        self._next = self.offset

    @property
    def finished(self) -> bool:
        """Whether nothing more of it comes, and everything has arrived."""
        return self.ended and os.fstat(self._file).st_size == self.offset

    def close(self) -> None:
        """Close its file."""
        os.close(self._file)


def _entry(line: bytes) -> tuple[str, str]:
    """(text, time) of an entry of the engine; empty if a full disk cut it."""
    try:
        found = json.loads(line)
        return str(found["log"]), str(found["time"])
    except (ValueError, KeyError, TypeError):
        return "", ""


class Containers:
    """All managed containers of a host.

    :param folder: the engine's, with a directory for each container
    :param positions: container's id: inode, offset
    """

    def __init__(self, folder: str, positions: dict[str, list[int]]) -> None:
        self.folder = folder
        self._known = positions
        self._tails: dict[str, Tail] = {}
        self._others: set[str] = set()
        """containers that scs does not manage"""

    def _look(self) -> None:
        """Notice containers that are new, and such that are gone."""
        present = set(os.listdir(self.folder))
        for identifier in present - self._tails.keys() - self._others:
            labels = managed(os.path.join(self.folder, identifier, "config.v2.json"))
            if labels:
                inode, offset = self._known.get(identifier, (0, 0))
                path = os.path.join(self.folder, identifier, f"{identifier}-json.log")
                try:
                    self._tails[identifier] = Tail(path, labels, inode, offset)
                except OSError:
                    # it has not been started yet
                    continue
            elif labels is not None:
                self._others.add(identifier)
        self._others &= present
        for identifier in self._tails.keys() - present:
            self._tails[identifier].ended = True

    def read(self, number: int) -> Iterator[dict[str, str]]:
        """At most so many new lines. Each container has its share: one that writes much holds up no other."""
        self._look()
        left = len(self._tails)
        for tail in self._tails.values():
            for row in tail.read(-(-number // left)):
                number -= 1
                yield row
            left -= 1

    def confirm(self) -> bool:
        """What was read has arrived; returns whether that is anything new."""
        changed = sum(tail.confirm() for tail in self._tails.values())
        finished = [i for i, t in self._tails.items() if t.finished]
        for identifier in finished:
            self._tails.pop(identifier).close()
        return bool(changed or finished)

    def rewind(self) -> None:
        """What was read has not arrived."""
        for tail in self._tails.values():
            tail.rewind()

    def positions(self) -> dict[str, list[int]]:
        """container's id: inode, offset."""
        return {i: [t.inode, t.offset] for i, t in self._tails.items()}


def managed(file: str) -> dict[str, str] | None:
    """What a container's lines are known by; empty: scs does not manage it; None: nothing is known yet.

    :param file: the engine's own description of it
    """
    try:
        with open(file) as stream:
            found = json.load(stream)
        labels: dict[str, Any] = found["Config"]["Labels"] or {}
        if "scs.container" not in labels:
            return {}
        return {"container": found["Name"].lstrip("/"), "service": labels.get("scs.service", "")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
