# SPDX-License-Identifier: Apache-2.0
"""Streams data between a container on a host and a file of the target, over SSH, without buffering whole files."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scs_deploy.engine.events import Stage, Watch
from scs_deploy.engine.stream import Remote, beside, guarded, inside, output_of
from scs_deploy.operations.backup import crypt
from scs_deploy.operations.backup.crypt import Counter
from scs_deploy.operations.backup.target import Target

__all__ = ["Meter", "Remote", "beside", "guarded", "inside", "keep", "loading", "mebibytes", "output_of"]

LOAD = """
umask 077
file=$(mktemp)
trap 'rm -f "$file"' EXIT
gunzip > "$file"
timeout 1800 "$@" < "$file"
"""
"""bash -e; buffers the input in a file, because some commands seek in it, and none may start with a part of it."""


class Meter:
    """Shows the progress of a stream from time to time."""

    def __init__(self, watch: Watch, what: str) -> None:
        self._watch, self._what = watch, what
        self._begin = self._last = time.monotonic()

    def __call__(self, size: int) -> None:
        """Show the progress after `size` bytes."""
        now = time.monotonic()
        if now - self._last >= 0.5:
            self._last = now
            rate = size / max(now - self._begin, 0.1)
            self._watch(Stage(f"{self._what}: {mebibytes(size)} at {mebibytes(rate)}/s"))


def mebibytes(size: float) -> str:
    """A size with its unit, for display."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"


def keep(
    target: Target, backup: str, file: str, source: crypt.Reads, recipients: Sequence[str], meter: Meter
) -> Counter:
    """Write a stream, encrypted, to a new file of the target; returns its size and checksums.

    :raises ScsError: the file could not be written
    """
    with target.writing(backup, file) as stream:
        counter = Counter(stream, meter)
        crypt.encrypt(source, counter, recipients)
    return counter


def loading(command: Sequence[str]) -> list[str]:
    """A command that takes a part, which comes compressed, from its standard input."""
    return ["bash", "-ec", LOAD, "load", *command]
