# SPDX-License-Identifier: Apache-2.0
"""The database as a source of backups: selects a member, streams a copy of it, and counts rows."""

from __future__ import annotations

from collections.abc import Mapping

from scs_deploy import clusters
from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.clusters.galera.driver import SYNCED
from scs_deploy.operations.backup import stream
from scs_deploy.operations.backup.chain import Source
from scs_deploy.operations.backup.manifest import DATABASE, Rows
from scs_deploy.region.region import Region

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
"""Schemas that belong to no service."""


def tables_query() -> str:
    """Query for all tables of services."""
    skip = ", ".join(f"'{s}'" for s in SYSTEM)
    return (
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' "  # noqa: S608
        f"AND TABLE_SCHEMA NOT IN ({skip}) ORDER BY 1, 2;"
    )


def count_query(tables: list[tuple[str, str]]) -> str:
    """Query for the row counts of tables in one consistent snapshot."""
    # names come from the server itself, and are quoted
    lines = [f"SELECT '{_text(s)}', '{_text(t)}', COUNT(*) FROM {_name(s)}.{_name(t)};" for s, t in tables]  # noqa: S608
    return "\n".join(["START TRANSACTION WITH CONSISTENT SNAPSHOT;", *lines, "COMMIT;"])


def _text(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _name(value: str) -> str:
    return "`" + value.replace("`", "``") + "`"


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """Parse rows of two columns."""
    return [(a, b) for a, _, b in (line.partition("\t") for line in text.splitlines()) if b]


def parse_counts(text: str) -> dict[str, int]:
    """Parse row counts by `schema.table`."""
    rows = (line.split("\t") for line in text.splitlines())
    return {f"{r[0]}.{r[1]}": int(r[2]) for r in rows if len(r) == 3}


def rows_of(before: Mapping[str, int], after: Mapping[str, int], touched: frozenset[str]) -> dict[str, Rows]:
    """Row counts of tables that existed before and after; tables created or dropped meanwhile are omitted."""
    return {
        name: Rows(before=count, after=after[name], touched=name in touched or after[name] != count)
        for name, count in before.items()
        if name in after
    }


def pick(states: Mapping[str, str], writer: str, last: str) -> str:
    """The member to copy.

    :param states: host: `Primary Synced`, another state, or why it does not respond
    :param writer: the member that the load balancers use; copied only if no other member is in sync
    :param last: the member of the last backup, which only a copy of the same member can be based on
    :raises RefusedError: no member is in sync
    """
    synced = sorted(h for h, s in states.items() if s == SYNCED)
    if not synced:
        seen = "; ".join(f"{h}: {s}" for h, s in sorted(states.items()))
        raise RefusedError(f"no member of {DATABASE} is in sync: {seen}", f"scs recover {DATABASE} --plan")
    standby = [h for h in synced if h != writer]
    if last in standby:
        return last
    return standby[-1] if standby else synced[0]


def members(region: Region) -> tuple[dict[str, str], str]:
    """The state of every member, and the writer ('' if unknown).

    :raises ScsError: a host's container engine does not respond, or Ansible itself failed
    """
    asked = (DATABASE, *region.catalog.load_balancers)
    drivers = {name: d for name, d in clusters.of(region).items() if name in asked}
    hosts = {h: None for d in drivers.values() for h in d.hosts}
    seen, unreachable = clusters.observe(region, drivers, tuple(hosts))
    states = {
        h: cluster.says.get(h) or " ".join(unreachable.get(h, "").split())[-120:] or "does not answer"
        for cluster in seen.clusters
        for h in cluster.wanted
    }
    writes = region.catalog.services[DATABASE].endpoints
    return states, next((seen.used[e] for e in writes if e in seen.used), "")


def copy_command(base_lsn: int | None) -> list[str]:
    """Command that streams a full copy, or the changes since a log sequence number."""
    more = [] if base_lsn is None else [f"--incremental-lsn={base_lsn}"]
    return stream.guarded(DATABASE, ["bash", "-c", physical.COPY, "copy", *more])


def identify(region: Region, host: str) -> Source:
    """The version and data directory of a member."""
    query = "SELECT VERSION();"
    version = stream.output_of(region, host, stream.inside(DATABASE, physical.SQL), query).strip()
    directory, size = stream.output_of(region, host, stream.inside(DATABASE, ["sh", "-c", physical.IDENTITY])).split()
    return Source(
        host=host, version=physical.base_version(version), directory=f"{host}:{directory}", directory_size=int(size)
    )


def pairs(region: Region, host: str, query: str) -> list[tuple[str, str]]:
    """Run a query with two columns on one member."""
    return parse_pairs(stream.output_of(region, host, stream.inside(DATABASE, physical.SQL), query))


def count(region: Region, host: str) -> dict[str, int]:
    """Row counts of all tables of services on one member."""
    tables = pairs(region, host, tables_query())
    return parse_counts(stream.output_of(region, host, stream.inside(DATABASE, physical.SQL), count_query(tables)))


def clock(region: Region, host: str) -> int:
    """The server's time, in seconds since the epoch."""
    return int(
        stream.output_of(region, host, stream.inside(DATABASE, physical.SQL), "SELECT UNIX_TIMESTAMP();").strip()
    )


def touched(region: Region, host: str, since: int) -> frozenset[str]:
    """Tables written to since a time of the server's clock."""
    query = (
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' "  # noqa: S608
        f"AND UPDATE_TIME >= FROM_UNIXTIME({since});"
    )
    return frozenset(f"{s}.{t}" for s, t in pairs(region, host, query))
