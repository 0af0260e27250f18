# SPDX-License-Identifier: Apache-2.0
"""Chains of backups: which belong together, what the next one is based on, and which have expired. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.operations.backup.manifest import DATABASE, Kind, Manifest, time_of


class Source(Model):
    """The member to copy."""

    host: str
    version: str
    directory: str
    directory_size: int = 0


class Choice(Model):
    """The kind of the next backup of the database."""

    base: str = ""
    """'' for a full backup"""
    why: str


def next_base(backups: Iterable[Manifest], source: Source, now: datetime, full_every_days: int) -> Choice:
    """Choose what the next backup is based on.

    Log sequence numbers belong to one data directory: they start over when a member is copied from another one, and no
    two members share them. Source: MariaDB documentation, "Incremental Backup and Restore with mariadb-backup".
    """
    known = {m.id: m for m in backups if m.database}
    if not known:
        return Choice(why="the first backup is full")
    if full_every_days <= 1:
        return Choice(why="full_every_days requests only full backups")
    same = [m for m in known.values() if m.database and m.database.host == source.host]
    last = max(same, key=lambda m: m.id, default=None)
    if last is None or last.database is None:
        return Choice(why=f"no earlier backup was taken from {source.host}")
    if last.database.directory != source.directory:
        return Choice(why=f"the data directory of {source.host} has changed since {_day(last)}")
    if last.database.version != source.version:
        return Choice(why=f"the server was {last.database.version} on {_day(last)} and is {source.version} now")
    try:
        links = links_of(known, last.id)
    except RefusedError as error:
        return Choice(why=error.message)
    # half a day of tolerance, so that a timer that fires a little early does not extend a chain by a day
    if now - time_of(links[0].id) >= timedelta(days=full_every_days) - timedelta(hours=12):
        return Choice(why=f"the last full backup is from {_day(links[0])}")
    return Choice(base=last.id, why=f"based on {last.id}")


def _day(manifest: Manifest) -> str:
    return time_of(manifest.id).date().isoformat()


def links_of(backups: Mapping[str, Manifest], backup: str) -> tuple[Manifest, ...]:
    """The chain of a backup: the full backup first, the backup itself last.

    :raises RefusedError: a backup is missing, has no database, or is not based on the one before it
    """
    links: list[Manifest] = []
    wanted = backup
    while True:
        found = backups.get(wanted)
        if found is None:
            needed = f", on which {links[-1].id} is based," if links else ""
            raise RefusedError(f"backup {wanted}{needed} is missing", "scs backup list")
        if found.database is None:
            raise RefusedError(f"backup {wanted} has no part '{DATABASE}'", "scs backup list")
        if links and not _continues(links[-1], found):
            raise RefusedError(
                f"backup {links[-1].id} is not based on {wanted}: "
                "their log sequence numbers, data directories or signatures differ",
                "choose another backup: scs backup list",
            )
        links.append(found)
        if found.database.kind is Kind.FULL:
            return tuple(reversed(links))
        if len(links) > len(backups):
            raise RefusedError(f"backup {backup} is based on itself", "choose another backup: scs backup list")
        wanted = found.database.base


def _continues(later: Manifest, earlier: Manifest) -> bool:
    a, b = later.database, earlier.database
    same = bool(a and b and a.from_lsn == b.to_lsn and a.directory == b.directory and a.host == b.host)
    return same and a is not None and a.base_signature == earlier.signature


def expired_of(
    signed: Sequence[Manifest], unsigned: Sequence[Manifest], daily: int, weekly: int, verified: Collection[str]
) -> tuple[str, ...]:
    """Backups that may be removed, oldest first. One without signature takes no signed one's place."""
    every = expired([*signed, *unsigned], daily, weekly, verified)
    gone = {*expired(signed, daily, weekly, verified), *({m.id for m in unsigned} & set(every))}
    return tuple(sorted(gone))


def expired(
    backups: Sequence[Manifest], daily: int, weekly: int, verified: Collection[str] = frozenset()
) -> tuple[str, ...]:
    """Backups that may be removed, oldest first.

    Each part counts by itself, so that a backup of one part takes no other part's place. Kept are the last backup of
    a part of each of the newest `daily` days and of each of the newest `weekly` ISO weeks that have one, its newest,
    the newest database that is known to restore, and all backups on which these are based.

    :param verified: ids of backups whose database was restored and compared
    """
    ordered = sorted(backups, key=lambda m: m.id, reverse=True)
    keep: set[str] = {m.id for m in ordered[:1]}
    for part in {name for m in ordered for name in _parts(m)}:
        good = verified if part == DATABASE else frozenset()
        keep |= _kept([m.id for m in ordered if part in _parts(m)], daily, weekly, good)
    by_id = {m.id: m for m in ordered}
    for found in ordered:
        current: Manifest | None = found if found.id in keep else None
        while current and current.database and current.database.base:
            keep.add(current.database.base)
            current = by_id.get(current.database.base)
    return tuple(m.id for m in reversed(ordered) if m.id not in keep)


def _parts(backup: Manifest) -> set[str]:
    return {p.name for p in backup.parts} | ({DATABASE} if backup.database else set())


def _kept(ids: Sequence[str], daily: int, weekly: int, verified: Collection[str]) -> set[str]:
    """Which backups of one part to keep, whatever the others need. `ids`: newest first."""
    days: dict[object, str] = {}
    weeks: dict[object, str] = {}
    for backup in ids:
        at = time_of(backup)
        days.setdefault(at.date(), backup)
        weeks.setdefault(at.isocalendar()[:2], backup)
    good = [i for i in ids if i in verified]
    return {*list(days.values())[:daily], *list(weeks.values())[:weekly], *ids[:1], *good[:1]}
