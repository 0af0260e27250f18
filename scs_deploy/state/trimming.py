# SPDX-License-Identifier: Apache-2.0
"""Removes the oldest run records. What is left can be listed, shown and compared as before."""

from __future__ import annotations

from scs_deploy.state.runs import RunStore, Status

SLACK, MANY_PAGES = 0.25, 64
"""The share of unused pages in a database of more pages than this, from which it is written anew and smaller."""

STEPS = """
DELETE FROM steps WHERE run IN (SELECT id FROM runs WHERE details AND status != :running AND id < :first)
"""
MARK = "UPDATE runs SET details = 0 WHERE details AND status != :running AND id < :first"
CHILDREN = tuple(
    "DELETE FROM %s WHERE run IN (SELECT id FROM runs WHERE status != :running AND id < :first "  # noqa: S608, UP031
    "AND id NOT IN (SELECT run FROM hosts))" % table
    for table in ("steps", "probes", "plans")
)
RECORDS = "DELETE FROM runs WHERE status != :running AND id < :first AND id NOT IN (SELECT run FROM hosts)"


def trim(store: RunStore, runs: int, details: int) -> None:
    """Keep the newest records. A run in progress stays whole, and a host's last successful run in the list.

    :param runs: how many to keep
    :param details: how many of them keep their steps
    :raises ScsError: the database cannot be written; nothing was removed
    """
    plan = [(_first(store, details), (STEPS, MARK)), (_first(store, runs), (*CHILDREN, RECORDS))]
    due = [(statement, first) for first, statements in plan if first for statement in statements]
    if not due:
        return
    with store.transaction():
        for statement, first in due:
            store.execute(statement, {"running": Status.RUNNING, "first": first})
    free, pages = (store.execute(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_count"))
    if pages > MANY_PAGES and free / pages > SLACK:
        store.execute("VACUUM")


def _first(store: RunStore, kept: int) -> str:
    """Id of the oldest of the newest runs; empty: there are no more than those."""
    rows = store.execute("SELECT id FROM runs ORDER BY id DESC LIMIT 2 OFFSET ?", kept - 1)
    return str(rows[0]["id"]) if len(rows) == 2 else ""
