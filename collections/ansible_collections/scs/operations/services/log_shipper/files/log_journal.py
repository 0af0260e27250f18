# SPDX-License-Identifier: Apache-2.0
"""New lines of the host's journal, from `journalctl`, which follows it.

Source: https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-json-format
"""

import json
import os
import select
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

LEVELS = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
"""Of syslog's severities, https://www.rfc-editor.org/rfc/rfc5424#section-6.2.1"""

FIELDS = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,_PID"
CHUNK = 1 << 18
FIRST = "-1day"
"""Where a store begins that has nothing."""


class Journal:
    """The journal of a host.

    :param folders: the first that holds one is read
    :param cursor: of the last line that is confirmed; empty: none is
    """

    def __init__(self, folders: list[str], cursor: str) -> None:
        self.folders = folders
        self._cursor = self._read_to = cursor
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def _follow(self) -> int | None:
        """The file descriptor of what `journalctl` prints; None: there is no journal."""
        if self._process and self._process.poll() is not None and not self._rest:
            self.rewind()
        if self._process is None:
            folder = next((f for f in self.folders if os.path.isdir(f) and os.listdir(f)), None)
            if folder is None:
                return None
            begin = f"--after-cursor={self._cursor}" if self._cursor else f"--since={FIRST}"
            command = ["journalctl", f"--directory={folder}", "--follow", "--lines=all", "--quiet", begin]
            self._process = subprocess.Popen(
                [*command, "--output=json", f"--output-fields={FIELDS}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        assert self._process.stdout
        return self._process.stdout.fileno()

    def read(self, number: int) -> Iterator[dict[str, str]]:
        """At most so many new lines, without waiting for any."""
        output = self._follow()
        while number > 0 and output is not None:
            line, found, rest = self._rest.partition(b"\n")
            if not found:
                if not select.select([output], [], [], 0)[0]:
                    return
                data = os.read(output, CHUNK)
                if not data:
                    # it has ended; the next look starts it again
                    self._rest = b""
                    return
                self._rest += data
                continue
            self._rest = rest
            entry = _parsed(line)
            if entry:
                self._read_to = entry["__CURSOR"]
                if row := _row(entry):
                    yield row
                    number -= 1

    def confirm(self) -> bool:
        """What was read has arrived; returns whether that is anything new."""
        changed, self._cursor = self._cursor != self._read_to, self._read_to
        return changed

    def rewind(self) -> None:
        """What was read has not arrived: read it once more."""
        if self._process:
            self._process.kill()
            assert self._process.stdout
            self._process.stdout.close()
            self._process.wait()
        self._process, self._rest, self._read_to = None, b"", self._cursor

    def position(self) -> str:
        """The cursor of the last line that is confirmed."""
        return self._cursor


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
        return found if isinstance(found, dict) and "__CURSOR" in found else {}
    except ValueError:
        return {}


def _row(entry: dict[str, Any]) -> dict[str, str]:
    """An entry as a line; empty if it has no text."""
    text = _text(entry.get("MESSAGE")).rstrip()
    if not text:
        return {}
    time = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
    unit = _text(entry.get("_SYSTEMD_UNIT")) or _text(entry.get("SYSLOG_IDENTIFIER")) or "kernel"
    priority = _text(entry.get("PRIORITY")) or "6"
    return {
        "_time": f"{time:%Y-%m-%dT%H:%M:%S.%f}Z",
        "service": unit,
        "level": LEVELS[int(priority)] if priority in "01234567" else "info",
        "program": _text(entry.get("SYSLOG_IDENTIFIER")),
        "_msg": text,
    }


def _text(value: Any) -> str:
    """A field: text; a list of bytes where it is none."""
    if isinstance(value, list):
        return bytes(b for b in value if isinstance(b, int) and 0 <= b < 256).decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
