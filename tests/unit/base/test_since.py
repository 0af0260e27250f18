# SPDX-License-Identifier: Apache-2.0
"""Points in time as operators write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.since import since

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_while_ago(text: str, ago: timedelta) -> None:
    assert since(text, now=NOW) == NOW - ago


def test_a_time_with_an_offset() -> None:
    assert since("2026-11-28T03:00:00+02:00") == datetime(2026, 11, 28, 1, tzinfo=UTC)


def test_a_date_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    assert since("2026-11-28") == datetime(2026, 11, 28).astimezone()


@pytest.mark.parametrize("text", ["", "7", "yesterday", "7 d", "1y", "9999999d", "2026-13-01"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="not a point in time"):
        since(text)
