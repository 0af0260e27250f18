# SPDX-License-Identifier: Apache-2.0
"""The tables of the run records, and the migration of databases of earlier versions."""

from __future__ import annotations

import sqlite3

from scs_deploy.base.errors import RefusedError

STEPS = (
    """
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, command TEXT NOT NULL, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
  process INTEGER, started TEXT NOT NULL, finished TEXT, status TEXT NOT NULL, changes_total INTEGER NOT NULL,
  changes_done INTEGER NOT NULL, inputs TEXT NOT NULL, message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS steps (
  run TEXT NOT NULL REFERENCES runs(id), sequence INTEGER NOT NULL, phase TEXT NOT NULL, task TEXT NOT NULL,
  host TEXT NOT NULL, subject TEXT NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
  message TEXT NOT NULL, PRIMARY KEY (run, sequence)) WITHOUT ROWID;
""",
    """
CREATE TABLE probes (
  run TEXT NOT NULL REFERENCES runs(id), attempt INTEGER NOT NULL, summaries TEXT NOT NULL,
  PRIMARY KEY (run, attempt)) WITHOUT ROWID;
ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN resume TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN before TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN revisions TEXT NOT NULL DEFAULT '';
""",
    """
ALTER TABLE runs ADD COLUMN inventory TEXT NOT NULL DEFAULT '';
""",
    """
ALTER TABLE runs ADD COLUMN changing INTEGER NOT NULL DEFAULT 1;
""",
    """
ALTER TABLE steps ADD COLUMN jobs TEXT;
""",
    """
ALTER TABLE runs ADD COLUMN operation TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN repeat TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN scs TEXT NOT NULL DEFAULT '';
""",
    # before this version, only an apply could be resumed, and it makes the region match its inputs
    """
ALTER TABLE runs ADD COLUMN follows INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET follows = 1 WHERE resume != '';
UPDATE runs SET operation = 'apply' WHERE resume != '' AND operation = '';
""",
    """
CREATE TABLE plans (
  run TEXT NOT NULL REFERENCES runs(id), attempt INTEGER NOT NULL, changes BLOB NOT NULL,
  PRIMARY KEY (run, attempt)) WITHOUT ROWID;
""",
    # so that old steps can go, and nobody reads all of them for each host's last run
    """
CREATE TABLE hosts (host TEXT PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id)) WITHOUT ROWID;
INSERT INTO hosts SELECT s.host, MAX(r.id) FROM steps s JOIN runs r ON r.id = s.run
  WHERE r.status = 'done' AND r.finished IS NOT NULL AND s.host != '' GROUP BY s.host;
ALTER TABLE runs ADD COLUMN details INTEGER NOT NULL DEFAULT 1;
""",
)
"""Each migrates from one version to the next; `PRAGMA user_version` is the database's version."""


def migrate(db: sqlite3.Connection) -> None:
    """Migrate a database to the newest version. Several processes may do so at the same time.

    :raises RefusedError: a newer scs wrote it
    """
    if _version(db) == len(STEPS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        present = _version(db)
        if present > len(STEPS):
            raise RefusedError(
                f"run records have version {present}, but this scs supports only {len(STEPS)}",
                "use the newer scs for this region",
            )
        for number in range(present, len(STEPS)):
            for statement in filter(str.strip, STEPS[number].split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
