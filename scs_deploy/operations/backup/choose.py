# SPDX-License-Identifier: Apache-2.0
"""Selects a backup and its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scs_deploy.base.errors import RefusedError
from scs_deploy.engine.events import Stage, Watch
from scs_deploy.operations.backup import chain, parts
from scs_deploy.operations.backup.create import Damaged, load
from scs_deploy.operations.backup.manifest import DATABASE, Manifest
from scs_deploy.operations.backup.target import Target, open_target
from scs_deploy.region.region import Region


@dataclass(frozen=True)
class Chosen:
    """A selected backup, with its chain."""

    target: Target
    backup: Manifest
    links: tuple[Manifest, ...]
    """empty if the database is not selected"""
    parts: tuple[str, ...]


def choose(region: Region, backup: str, only: Sequence[str], watch: Watch) -> Chosen:
    """Find a backup and its chain.

    :param backup: its id; '' for the last backup with the selected parts
    :raises RefusedError: no such backup or part, or a backup of its chain is missing
    """
    target = open_target(region.environment)
    watch(Stage(f"reading {target.where}"))
    good, bad = load(target)
    found = pick(good, bad, backup, only, target.where)
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
        raise RefusedError(f"backup {backup} cannot be used: {bad[backup]}", "scs backup list")
    if backup:
        raise RefusedError(f"no backup '{backup}' in {where}", "scs backup list")
    words = set(only) or {DATABASE}
    for found in sorted(good.values(), key=lambda m: m.id, reverse=True):
        names = {p.name for p in found.parts} | {p.name.partition(".")[0] for p in found.parts}
        if words <= names:
            return found
    raise RefusedError(f"no backup with {', '.join(sorted(words))} in {where}", "scs backup create")
