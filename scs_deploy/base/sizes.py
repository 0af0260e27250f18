# SPDX-License-Identifier: Apache-2.0
"""Numbers of bytes in messages."""

from __future__ import annotations


def size(number: float) -> str:
    """Bytes for people: `3.1 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError(number)
