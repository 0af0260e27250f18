# SPDX-License-Identifier: Apache-2.0
"""What a guest writes on its serial console."""

from __future__ import annotations

import re

from scs_deploy.validate.guest_image import MARKER


def guest_lines(console: str) -> dict[str, dict[str, str]]:
    """Parse the guest's console output: word after the marker -> its key=value pairs. The last line per word wins.

    A line without its end is left out: a serial console is slow, so it may be read while the guest still writes.
    """
    lines: dict[str, dict[str, str]] = {}
    for line in re.findall(rf"{re.escape(MARKER)} ([^\r\n]*)[\r\n]", console):
        word, *pairs = line.split()
        lines[word] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return lines


def ending(console: str) -> str:
    """The last lines of a guest's console output, joined into one line."""
    lines = [" ".join(line.split()) for line in console.splitlines()]
    return " | ".join([line for line in lines if line.isprintable() and line][-3:])
