# SPDX-License-Identifier: Apache-2.0
"""A copy of the run records in memory: for users who may read the database, but not write beside it.

SQLite's write-ahead log needs two files beside the database. A reader who may not create them could read only while
a run is in progress.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from scs_deploy.state import schema

ATTEMPTS = 5
"""How often to read the file again because a run began or ended meanwhile."""

_JOURNAL = slice(18, 20)
"""Versions for writing and reading: 2 is with a write-ahead log. https://www.sqlite.org/fileformat.html#file_format_version_numbers"""


def copy_of(path: Path) -> sqlite3.Connection:
    """The records as they are now; none if no run was recorded yet. Writes nothing to the disk.

    :raises sqlite3.Error: the database cannot be read
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    content = _at_rest(path)
    if content is None:
        with sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30) as live:
            live.backup(copy)
        live.close()
    elif content:
        copy.deserialize(content)
    schema.migrate(copy)
    return copy


def _at_rest(path: Path) -> bytes | None:
    """The database's content; None while another process writes it. Only with a log do its pages change."""
    log = path.with_name(f"{path.name}-wal")
    for _ in range(ATTEMPTS):
        try:
            before = path.stat()
        except FileNotFoundError:
            return b""
        content = bytearray(path.read_bytes())
        after = path.stat()
        if log.exists():
            return None
        if (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size):
            if content:
                content[_JOURNAL] = b"\x01\x01"
            return bytes(content)
    return None
