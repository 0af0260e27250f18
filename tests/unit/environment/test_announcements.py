# SPDX-License-Identifier: Apache-2.0
"""announcements.yml: what is shown when, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import announcements

ENTRY = """\
  - from: {begin}
    until: {until}
    title: {{en: A, de: B}}
    text: {{en: C, de: D}}
"""


def written(folder: Path, *times: tuple[str, str]) -> None:
    entries = "".join(ENTRY.format(begin=b, until=u) for b, u in times)
    (folder / announcements.FILE).write_text("announcements:\n" + entries, encoding="utf-8")


def test_no_file_announces_nothing(tmp_path: Path) -> None:
    assert announcements.load(tmp_path).announcements == ()


def test_those_that_ended_are_not_shown_and_the_next_comes_first(tmp_path: Path) -> None:
    written(
        tmp_path,
        ("2026-12-03T00:00:00Z", "2026-12-04T00:00:00Z"),
        ("2026-12-01T22:00:00+01:00", "2026-12-02T02:00:00+01:00"),
        ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
    )
    found = announcements.load(tmp_path)
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert [a.begin.day for a in found.shown(now)] == [1, 3]
    assert found.shown(now)[0].until.utcoffset() == timedelta(hours=1)
    assert [a.begin.day for a in found.shown(now + timedelta(days=2))] == [3]


@pytest.mark.parametrize(
    ("begin", "until", "said"),
    [
        ("2026-12-01T22:00:00", "2026-12-02T22:00:00Z", "announcements.0.from"),
        ("2026-12-02T22:00:00Z", "2026-12-01T22:00:00Z", "until: must be later than from"),
        ("soon", "2026-12-01T22:00:00Z", "announcements.0.from"),
    ],
)
def test_wrong_times_are_refused_with_their_line(tmp_path: Path, begin: str, until: str, said: str) -> None:
    written(tmp_path, (begin, until))
    with pytest.raises(RefusedError, match=rf"announcements\.yml:2: .*{said}"):
        announcements.load(tmp_path)


def test_a_language_must_not_be_missing(tmp_path: Path) -> None:
    written(tmp_path, ("2026-12-01T22:00:00Z", "2026-12-02T22:00:00Z"))
    file = tmp_path / announcements.FILE
    file.write_text(file.read_text().replace(", de: B", ""), encoding="utf-8")
    with pytest.raises(RefusedError, match=r"announcements\.0\.title\.de: is required"):
        announcements.load(tmp_path)
