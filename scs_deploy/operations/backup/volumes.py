# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes, which users make with Cinder: they are in the region's Ceph, and in no backup of scs.

https://docs.openstack.org/api-ref/block-storage/v3/#backups-backups
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import clouds

TIMEOUT = 8
"""Seconds for an answer: a region that is down has others to look at than this."""

SERVICE, AVAILABLE, FAILED = "cinder", "available", ("error", "error_deleting")


class VolumeBackups(Model):
    """Those of all projects, as far as Cinder answers."""

    count: int = 0
    volumes: int = 0
    """that have one which can be restored"""
    newest: datetime | None = None
    """of those that can be restored"""
    gib: int = 0
    """sizes of their volumes together; what the backups take is less or more: they are incremental, and never shrink"""
    failed: int = 0
    unknown: str = ""
    """why Cinder does not say; empty: it did"""


def summary(backups: Iterable[Mapping[str, Any]]) -> VolumeBackups:
    """From what the API lists. Pure."""
    found = list(backups)
    good = [b for b in found if b["status"] == AVAILABLE]
    return VolumeBackups(
        count=len(found),
        volumes=len({b["volume_id"] for b in good}),
        newest=max((datetime.fromisoformat(b["created_at"]).replace(tzinfo=UTC) for b in good), default=None),
        gib=sum(b["size"] or 0 for b in good),
        failed=sum(b["status"] in FAILED for b in found),
    )


def read(environment: Environment) -> VolumeBackups:
    """Ask Cinder. Never fails: says why it does not know."""
    try:
        return summary(clouds.connect(environment, TIMEOUT).block_storage.backups(details=True, all_projects=True))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the region, its backups are listed
        return VolumeBackups(unknown=" ".join(str(error).split())[:200] or type(error).__name__)
