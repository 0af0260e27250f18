# SPDX-License-Identifier: Apache-2.0
"""All backups of a region, and which of them carry its signature. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup.create import Damaged, load
from scs_deploy.operations.backup.manifest import Manifest
from scs_deploy.operations.backup.target import open_target
from scs_deploy.secrets import signing, store


@dataclass(frozen=True)
class Listed:
    """The backups of a region's target, by id."""

    target: str
    backups: dict[str, Manifest]
    """complete ones, the oldest first"""
    authentic: dict[str, str]
    """`yes`, `no`, or `not checked`"""
    damaged: dict[str, Damaged]
    unsigned: bool
    """whether one has no signature: an earlier scs made it, or somebody else did"""
    unchecked: str
    """why no signature was checked; empty: all were"""


def listed(environment: Environment) -> Listed:
    """The backups of a region.

    :raises RefusedError: the target cannot be reached
    """
    target = open_target(environment)
    keys, unchecked = None, ""
    try:
        keys = signing.keys(store.load(environment))
    except RefusedError as error:
        unchecked = error.message
    stored = load(environment, target, keys)
    found = dict(sorted({**stored.good, **stored.unsigned}.items()))
    authentic = {b: ("not checked" if keys is None else "yes") if b in stored.good else "no" for b in found}
    return Listed(target.where, found, authentic, stored.bad, bool(stored.unsigned), unchecked)
