# SPDX-License-Identifier: Apache-2.0
"""Calendar expressions of systemd timers that a clock change skips.

An expression in the hour that summer time takes away has no elapse on that day, and `Persistent=` does not make up for
it: the timer never missed one. Source: systemd.time(7), systemd-analyze(1).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

LATE = timedelta(hours=2)
"""An expression that elapses again so soon after the clock change loses nothing."""
STEP = timedelta(minutes=30)


def skipped(expression: str, now: datetime, zone: str = "") -> str:
    """Say when a clock change of the coming year makes a timer skip a day; empty: never, or systemd does not tell.

    :param expression: as in OnCalendar=, already accepted by systemd
    :param zone: time zone of the machine; default: as /etc/localtime says
    """
    *words, last = expression.split()
    if words and (last == "UTC" or last in available_timezones()):
        expression, zone = " ".join(words), last
    zone = zone or local_zone()
    for start, end in gaps(ZoneInfo(zone), now):
        lost, after = _next_elapse(expression, start), _next_elapse(expression, end)
        if lost and lost < end and (after is None or after - end > LATE):
            then = f"{after:%Y-%m-%d %H:%M}" if after else "never"
            return (
                f"'{expression}' does not run on {start:%Y-%m-%d}, when clocks in {zone} go from {start:%H:%M} to "
                f"{end:%H:%M}; the next time is {then}"
            )
    return ""


def gaps(zone: ZoneInfo, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Times of the coming year that clocks skip: first one, and first one that exists again; without a time zone."""
    instant = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    end = instant + timedelta(days=366)
    while instant < end:
        before, after = (i.astimezone(zone).replace(tzinfo=None) for i in (instant, instant + STEP))
        if after - before > STEP:
            yield before + STEP, after
        instant += STEP


def local_zone() -> str:
    """Name of the machine's time zone, as systemd reads it."""
    name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return name if name in available_timezones() else "UTC"


def _next_elapse(expression: str, since: datetime) -> datetime | None:
    """The first elapse at or after a time, on a clock that never changes."""
    base = f"{since - timedelta(seconds=1):%Y-%m-%d %H:%M:%S}"
    command = ["systemd-analyze", "calendar", f"--base-time={base}", expression]
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    except FileNotFoundError:
        return None
    for line in done.stdout.splitlines():
        found = line.partition("Next elapse:")[2].split()
        if len(found) >= 3:
            return datetime.fromisoformat(" ".join(found[1:3]))
    return None
