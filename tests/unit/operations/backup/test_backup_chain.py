# SPDX-License-Identifier: Apache-2.0
"""Which backup continues which, what is kept, what a manifest says: decisions, as tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations.backup import chain, choose, manifest
from scs_deploy.operations.backup.chain import Source
from scs_deploy.operations.backup.create import Damaged
from scs_deploy.operations.backup.manifest import Database, Kind, Manifest, Part, Rows

MONDAY = datetime(2026, 11, 16, 2, 30, tzinfo=UTC)
SOURCE = Source(host="b", version="11.8.6-MariaDB", directory="b:1.1")


def backup(at: datetime, base: str = "", lsn: int = 0, **more: object) -> Manifest:
    """A backup of the database, `lsn` long; `more` replaces fields of its database."""
    database = {
        "kind": Kind.INCREMENTAL if base else Kind.FULL,
        "base": base,
        "host": "b",
        "version": "11.8.6-MariaDB",
        "directory": "b:1.1",
        "directory_size": 1000,
        "from_lsn": lsn if base else 0,
        "to_lsn": lsn + 100,
        "position": "11111111-2222-3333-4444-555555555555:7",
        "tables": {"nova.instances": Rows(before=3, after=3, touched=False)},
    }
    return Manifest(
        id=manifest.new_id(at),
        region="RegionOne",
        environment="test",
        started=at,
        seconds=1,
        release="2025.1",
        images={},
        recipients=(),
        parts=(Part(name="mariadb", file="mariadb.age", size=10, sha256="0" * 64, encrypted=True),),
        database=Database.model_validate({**database, **more}),
    )


def only_environment(at: datetime) -> Manifest:
    """As `scs backup create --only environment` makes it."""
    part = Part(name="environment", file="environment.tar", size=10, sha256="0" * 64, encrypted=False)
    return backup(at).model_copy(update={"database": None, "parts": (part,)})


def daily(days: int, full_every: int = 7) -> list[Manifest]:
    """A backup a day, as the timer makes them."""
    made: list[Manifest] = []
    for day in range(days):
        base = made[-1].id if day % full_every else ""
        made.append(backup(MONDAY + timedelta(days=day), base, lsn=100 * day))
    return made


def test_the_first_backup_is_a_full_one() -> None:
    assert chain.next_base([], SOURCE, MONDAY, 7).base == ""


def test_the_next_one_continues_the_last_one_until_the_chain_is_a_week_old() -> None:
    made = daily(7)
    for day in range(1, 7):
        choice = chain.next_base(made[:day], SOURCE, MONDAY + timedelta(days=day), 7)
        assert choice.base == made[day - 1].id, day
    week = MONDAY + timedelta(days=7)
    # a timer comes minutes early as well as late
    for at in (week - timedelta(minutes=5), week + timedelta(minutes=5)):
        assert chain.next_base(made, SOURCE, at, 7).base == ""


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (Source(host="c", version="11.8.6-MariaDB", directory="c:1.1"), "from c"),
        (Source(host="b", version="11.8.6-MariaDB", directory="b:2.2"), "data directory of b has changed"),
        (Source(host="b", version="11.8.7-MariaDB", directory="b:1.1"), "11.8.6-MariaDB on 2026-11-17"),
    ],
    ids=["another member", "copied from another member", "another version"],
)
def test_what_log_sequence_numbers_say_nothing_about_is_copied_in_full(source: Source, why: str) -> None:
    choice = chain.next_base(daily(2), source, MONDAY + timedelta(days=2), 7)
    assert choice.base == ""
    assert why in choice.why


def test_a_chain_with_a_gap_is_not_continued() -> None:
    made = daily(3)
    choice = chain.next_base([made[0], made[2]], SOURCE, MONDAY + timedelta(days=3), 7)
    assert choice.base == ""
    assert made[1].id in choice.why


def test_a_day_between_full_backups_means_no_others() -> None:
    assert chain.next_base(daily(1), SOURCE, MONDAY + timedelta(hours=1), 1).base == ""


def test_a_chain_is_the_full_backup_and_all_up_to_the_wanted_one() -> None:
    made = daily(10)
    known = {m.id: m for m in made}
    assert chain.links_of(known, made[5].id) == tuple(made[:6])
    assert chain.links_of(known, made[8].id) == (made[7], made[8])


def test_a_missing_base_is_named() -> None:
    made = daily(4)
    known = {m.id: m for m in made if m is not made[1]}
    with pytest.raises(RefusedError, match=rf"{made[1].id}, on which {made[2].id} is based, is missing"):
        chain.links_of(known, made[3].id)


@pytest.mark.parametrize("change", [{"from_lsn": 99}, {"directory": "b:2.2"}, {"host": "c"}])
def test_a_link_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    full = backup(MONDAY)
    later = backup(MONDAY + timedelta(days=1), full.id, **{"from_lsn": 100} | change)
    with pytest.raises(RefusedError, match=f"{later.id} is not based on {full.id}"):
        chain.links_of({m.id: m for m in (full, later)}, later.id)


def test_a_ring_is_refused() -> None:
    one, two = MONDAY, MONDAY + timedelta(days=1)
    a = backup(one, manifest.new_id(two), from_lsn=100, to_lsn=100)
    b = backup(two, manifest.new_id(one), from_lsn=100, to_lsn=100)
    with pytest.raises(RefusedError, match="is based on itself"):
        chain.links_of({m.id: m for m in (a, b)}, a.id)


def test_days_weeks_and_what_they_continue_are_kept() -> None:
    made = daily(35)
    gone = chain.expired(made, daily=7, weekly=4)
    left = {m.id for m in made} - set(gone)
    assert {m.id for m in made[-7:]} <= left, "the last seven days"
    # each week's last backup is a Sunday's, which continues all of its week back to Monday's full one
    assert left == {m.id for m in made[7:]}
    known = {m.id: m for m in made if m.id in left}
    for backup_id in left:
        chain.links_of(known, backup_id)
    assert list(gone) == sorted(gone)


def test_full_backups_every_day_leave_exactly_the_settings() -> None:
    gone = chain.expired(daily(35, full_every=1), daily=3, weekly=2)
    assert 35 - len(gone) == 4, "three days, of which the last one is this week's too, and last week's"


def test_of_several_a_day_the_last_one_stays() -> None:
    made = [backup(MONDAY + timedelta(hours=h)) for h in range(5)]
    assert chain.expired(made, daily=7, weekly=4) == tuple(m.id for m in made[:4])


def test_a_later_backup_without_the_database_does_not_push_out_the_database() -> None:
    whole = backup(MONDAY)
    part = only_environment(MONDAY + timedelta(hours=2))
    assert chain.expired([whole, part], daily=1, weekly=0) == ()


def test_a_part_of_each_noon_does_not_push_out_the_nights_databases() -> None:
    nights = daily(7, full_every=1)
    noons = [only_environment(MONDAY + timedelta(days=d, hours=9)) for d in range(7)]
    gone = chain.expired([*nights, *noons], daily=7, weekly=4)
    assert not {m.id for m in nights} & set(gone)


def test_the_last_database_that_is_known_to_restore_stays() -> None:
    made = daily(35, full_every=1)
    good = made[3].id
    assert good in chain.expired(made, daily=3, weekly=2)
    assert good not in chain.expired(made, daily=3, weekly=2, verified={made[1].id, good})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "damaged"),
        ('{"format": 3}', "written by a later version of scs"),
        ('{"format": 1}', "damaged: id"),
    ],
)
def test_a_manifest_that_cannot_be_read_says_why(text: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        manifest.parse(text, "here", ())


def test_a_manifest_comes_back_as_it_was() -> None:
    made = backup(MONDAY)
    assert manifest.parse(manifest.dump(made), "here", ()) == made
    assert json.loads(manifest.dump(made))["database"]["kind"] == "full"


def test_the_last_backup_that_has_what_is_wanted_is_meant() -> None:
    whole, later = backup(MONDAY), backup(MONDAY + timedelta(days=1))
    keys = Part(name="keystone.keys", file="k.age", size=1, sha256="0" * 64, encrypted=True)
    only_keys = later.model_copy(update={"database": None, "parts": (keys,)})
    good = {m.id: m for m in (whole, only_keys)}
    assert choose.pick(good, {}, "", (), "t") == whole
    assert choose.pick(good, {}, "", ("keystone",), "t") == only_keys
    assert choose.pick(good, {}, whole.id, ("keystone",), "t") == whole
    with pytest.raises(RefusedError, match="no backup with ovn"):
        choose.pick(good, {}, "", ("ovn",), "t")
    with pytest.raises(RefusedError, match="X cannot be used: interrupted"):
        choose.pick(good, {"X": Damaged(why="interrupted")}, "X", (), "t")
