# SPDX-License-Identifier: Apache-2.0
"""Selects a backup and its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from scs_deploy.base.errors import RefusedError
from scs_deploy.engine.events import Stage, Watch
from scs_deploy.operations.backup import chain, parts
from scs_deploy.operations.backup.create import Damaged, load
from scs_deploy.operations.backup.manifest import DATABASE, Manifest, time_of
from scs_deploy.operations.backup.target import Target, open_target
from scs_deploy.region.region import Region
from scs_deploy.secrets import signing
from scs_deploy.secrets import store as secrets


@dataclass(frozen=True)
class Chosen:
    """A selected backup, with its chain."""

    target: Target
    backup: Manifest
    links: tuple[Manifest, ...]
    """empty if the database is not selected"""
    parts: tuple[str, ...]


def choose(
    region: Region, backup: str, only: Sequence[str], watch: Watch, unsigned_until: date | None = None
) -> Chosen:
    """Find a backup and its chain, all of them signed by this region.

    :param backup: its id; '' for the last backup with the selected parts
    :param unsigned_until: backups without signature may be used, too, up to those of this day
    :raises RefusedError: no such backup or part, it is not authenticated, or a backup of its chain is missing
    """
    target = open_target(region.environment)
    watch(Stage(f"reading {target.where}"))
    stored = load(region.environment, target, signing.keys(secrets.load(region.environment)))
    good = stored.trusting(unsigned_until)
    refused = {b: not_authenticated(b) for b in stored.unsigned if b not in good}
    found = pick(good, {**stored.bad, **refused}, backup, only, target.where)
    wanted = parts.chosen(region.catalog, only, [p.name for p in found.parts])
    links = chain.links_of(good, found.id) if DATABASE in wanted else ()
    return Chosen(target, found, links, tuple(wanted))


def pick(
    good: dict[str, Manifest], bad: Mapping[str, Damaged], backup: str, only: Sequence[str], where: str
) -> Manifest:
    """The selected backup. Pure.

    :raises RefusedError: no such backup
    """
    if backup in good:
        return good[backup]
    if backup in bad:
        raise RefusedError(f"backup {backup} cannot be used: {bad[backup]}", bad[backup].hint)
    if backup:
        raise RefusedError(f"no backup '{backup}' in {where}", "scs backup list")
    words = set(only) or {DATABASE}
    for found in sorted(good.values(), key=lambda m: m.id, reverse=True):
        names = {p.name for p in found.parts} | {p.name.partition(".")[0] for p in found.parts}
        if words <= names:
            return found
    if hints := [d.hint for _, d in sorted(bad.items()) if d.unsigned]:
        raise RefusedError(f"no authenticated backup with {', '.join(sorted(words))} in {where}", hints[-1])
    raise RefusedError(f"no backup with {', '.join(sorted(words))} in {where}", "scs backup create")


def not_authenticated(backup: str) -> Damaged:
    """Why a backup without signature is not used."""
    return Damaged(
        why="not authenticated: it has no signature",
        hint=f"if it is from before your scs signed backups: --unauthenticated {time_of(backup).date()}",
        unsigned=True,
    )
