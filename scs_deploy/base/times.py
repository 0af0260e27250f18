# SPDX-License-Identifier: Apache-2.0
"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def duration(seconds: float, digits: int = 1) -> str:
    """`0.4 s`, `1 min 05 s`.

    :param digits: after the point, of less than a minute
    """
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def utc(moment: datetime) -> str:
    """`2026-11-28 03:00:05`, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
