# SPDX-License-Identifier: Apache-2.0
"""Containers that do not come back well while Ceph is full (`needs_room` in their spec) are not interrupted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scs_deploy.base.errors import RefusedError
from scs_deploy.plan.change import Change, Kind
from scs_deploy.spec.catalog import Catalog

INTERRUPTS = frozenset({Kind.REPLACE, Kind.RESTART, Kind.STOP})
GUIDE = "docs/how-to/storage.md#a-full-cluster"


def interrupted(changes: Iterable[Change], catalog: Catalog) -> Iterator[Change]:
    """The changes that stop such a container, for a moment or for good. A new one, or one that is down, may start."""
    for change in changes:
        service = catalog.services.get(change.service)
        container = service.containers.get(change.subject) if service else None
        if container and container.needs_room and change.kind in INTERRUPTS:
            yield change


def refuse(changes: Iterable[Change], catalog: Catalog, full: str) -> None:
    """Refuse changes that stop such a container.

    :param full: why no client of Ceph can write; empty: they can
    :raises RefusedError: names the first one
    """
    first = next(interrupted(changes, catalog), None) if full else None
    if first:
        raise RefusedError(
            f"Ceph is full ({full}): {first.subject} on {first.host} would not come back well ({first.kind}: "
            f"{first.reason})",
            f"make room or raise the full ratio first, or select other services: {GUIDE}",
        )
