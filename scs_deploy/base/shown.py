# SPDX-License-Identifier: Apache-2.0
"""Text from a file as part of an error: one line, and not too long."""

from __future__ import annotations

LONGEST = 80


def shown(text: object, longest: int = LONGEST) -> str:
    """`text` with control characters escaped, and cut to a length."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: longest + 1])
    return line if len(line) <= longest else f"{line[:longest]} ..."
