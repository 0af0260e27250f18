# SPDX-License-Identifier: Apache-2.0
"""Which backups belong together, what the next one continues, and which are not needed any more. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.operations.backup.manifest import DATABASE, Kind, Manifest, time_of


class Source(Model):
    """The member that is about to be copied."""

    host: str
    version: str
    directory: str
    directory_size: int = 0


class Choice(Model):
    """What the next backup of the database is."""

    base: str = ""
    """'': it is a full one"""
    why: str


def next_base(backups: Iterable[Manifest], source: Source, now: datetime, full_every_days: int) -> Choice:
    """Whether the next backup can continue an earlier one.

    Log sequence numbers are those of one data directory: they begin anew when a member is copied from another one, and
    no two members share them. Source: MariaDB documentation, "Incremental Backup and Restore with mariadb-backup".
    """
    known = {m.id: m for m in backups if m.database}
    if not known:
        return Choice(why="the first backup is a full one")
    if full_every_days <= 1:
        return Choice(why="full_every_days asks for full backups only")
    same = [m for m in known.values() if m.database and m.database.host == source.host]
    last = max(same, key=lambda m: m.id, default=None)
    if last is None or last.database is None:
        return Choice(why=f"no earlier backup was taken from {source.host}")
    if last.database.directory != source.directory:
        return Choice(why=f"the data directory of {source.host} is another one than on {_day(last)}")
    if last.database.version != source.version:
        return Choice(why=f"the server was {last.database.version} on {_day(last)} and is {source.version} now")
    try:
        links = links_of(known, last.id)
    except RefusedError as error:
        return Choice(why=error.message)
    # half a day: a timer that comes a little early shall not make a chain a day longer
    if now - time_of(links[0].id) >= timedelta(days=full_every_days) - timedelta(hours=12):
        return Choice(why=f"the last full backup is of {_day(links[0])}")
    return Choice(base=last.id, why=f"continues {last.id}")


def _day(manifest: Manifest) -> str:
    return time_of(manifest.id).date().isoformat()


def links_of(backups: Mapping[str, Manifest], backup: str) -> tuple[Manifest, ...]:
    """The backups that one needs, the full one first and itself last.

    :raises RefusedError: one is missing, has no database, or does not continue the one before it
    """
    links: list[Manifest] = []
    wanted = backup
    while True:
        found = backups.get(wanted)
        if found is None:
            needed = f", which {links[-1].id} continues" if links else ""
            raise RefusedError(f"backup {wanted}{needed} is missing", "scs backup list")
        if found.database is None:
            raise RefusedError(f"backup {wanted} has no part '{DATABASE}'", "scs backup list")
        if links and not _continues(links[-1], found):
            raise RefusedError(
                f"backup {links[-1].id} is not based on {wanted}: "
                "their log sequence numbers or data directories differ",
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
    return bool(a and b and a.from_lsn == b.to_lsn and a.directory == b.directory and a.host == b.host)


def expired(backups: Sequence[Manifest], daily: int, weekly: int) -> tuple[str, ...]:
    """Backups that nothing keeps, oldest first.

    Kept are the last one of each of the newest `daily` days that have one, of each of the newest `weekly` ISO weeks
    that have one, and all that these continue.
    """
    ordered = sorted(backups, key=lambda m: m.id, reverse=True)
    days: dict[object, str] = {}
    weeks: dict[object, str] = {}
    for found in ordered:
        at = time_of(found.id)
        days.setdefault(at.date(), found.id)
        weeks.setdefault(at.isocalendar()[:2], found.id)
    keep = {*list(days.values())[:daily], *list(weeks.values())[:weekly]}
    if ordered:
        keep.add(ordered[0].id)
    # a backup of one part only does not stand for the whole region's last one
    whole = [m.id for m in ordered if m.database]
    keep.update(whole[:1])
    by_id = {m.id: m for m in ordered}
    for found in ordered:
        current: Manifest | None = found if found.id in keep else None
        while current and current.database and current.database.base:
            keep.add(current.database.base)
            current = by_id.get(current.database.base)
    return tuple(m.id for m in reversed(ordered) if m.id not in keep)
