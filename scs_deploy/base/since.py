# SPDX-License-Identifier: Apache-2.0
"""Points in time as operators write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from scs_deploy.base.errors import RefusedError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=366)
"""Of a length of time."""

_AGO = re.compile(r"(\d{1,6})([smhdw])")


def since(text: str, option: str = "--since", now: datetime | None = None) -> datetime:
    """`30m`, `12h`, `7d` or `2w` ago, or an ISO 8601 date or time; without an offset it is in the local time zone.

    :param option: for the message
    :raises RefusedError: it is neither
    """
    now = now or datetime.now(UTC)
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise RefusedError(
            f"{option} {text}: not a point in time", "e.g. 30m, 12h, 7d, 2026-11-28 or 2026-11-28T03:00"
        ) from None


def length(text: str, option: str) -> timedelta:
    """`30m`, `12h`, `7d` or `2w`.

    :param option: for the message
    :raises RefusedError: it is no such length of time, or none at all
    """
    found = _AGO.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise RefusedError(f"{option} {text}: not a length of time", "e.g. 30m, 12h, 7d or 2w")
    try:
        result = timedelta(**{UNITS[found[2]]: int(found[1])})
    except OverflowError:
        result = LONGEST + timedelta(1)
    if result > LONGEST:
        raise RefusedError(f"{option} {text}: longer than {LONGEST.days} days", "e.g. 30m, 12h, 7d or 2w")
    return result
