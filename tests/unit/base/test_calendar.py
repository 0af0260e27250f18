# SPDX-License-Identifier: Apache-2.0
"""What a clock change makes a timer skip, as systemd-analyze says."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from scs_deploy.base import calendar
from scs_deploy.environment.environment import Backup

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")


@pytest.mark.parametrize(
    ("zone", "found"),
    [
        ("Europe/Berlin", ["2027-03-28 02:00 03:00"]),
        ("Australia/Lord_Howe", ["2027-10-03 02:00 02:30"]),
        ("Africa/Cairo", ["2027-04-30 00:00 01:00"]),
        ("UTC", []),
        ("Asia/Tokyo", []),
    ],
)
def test_times_that_clocks_skip(zone: str, found: list[str]) -> None:
    assert [f"{a:%Y-%m-%d %H:%M} {b:%H:%M}" for a, b in calendar.gaps(ZoneInfo(zone), NOW)] == found


@needs_systemd
@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        (
            "*-*-* 02:30:00",
            "Europe/Berlin",
            "does not run on 2027-03-28, .*02:00 to 03:00; the next time is 2027-03-29",
        ),
        ("Sun 02:00", "Europe/Berlin", "the next time is 2027-04-04 02:00"),
        ("*-*-* 02:30 America/New_York", "Asia/Tokyo", "clocks in America/New_York"),
        ("*-*-* 02:30 UTC", "Europe/Berlin", ""),
        ("*-*-* 03:00", "Europe/Berlin", ""),
        ("*-*-* 03:00", "Europe/Athens", "from 03:00 to 04:00"),
        ("Mon..Sat 02:30", "Europe/Berlin", ""),
        ("*-*-* 02:30", "UTC", ""),
        ("hourly", "Europe/Berlin", ""),
    ],
)
def test_a_timer_in_the_hour_that_is_skipped_is_noticed(expression: str, zone: str, said: str) -> None:
    found = calendar.skipped(expression, NOW, zone)
    assert bool(re.search(said, found)) if said else not found, found


@needs_systemd
def test_backups_run_every_day_of_the_year_in_every_zone() -> None:
    default = str(Backup.model_fields["schedule"].default)
    zones = ("Europe/Berlin", "Europe/Athens", "Europe/Lisbon", "America/Santiago", "Africa/Cairo", "America/New_York")
    assert [found for zone in zones if (found := calendar.skipped(default, NOW, zone))] == []
