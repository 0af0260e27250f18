# SPDX-License-Identifier: Apache-2.0
"""`scs logs` from the log stores: what its options mean there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.engine.container_logs import Level, is_unit, select
from scs_deploy.region.region import Region
from scs_deploy.shared.log_store import Line, LogStore, Search
from scs_deploy.spec.catalog import close_matches


def search(
    region: Region, name: str | None, host: str | None, level: Level | None, wanted: Mapping[str, Any]
) -> Search:
    """What is looked for.

    :param wanted: of `logs.asked`
    :raises RefusedError: there is no such host, service or container
    """
    if host is not None and host not in region.inventory.hosts:
        raise RefusedError(f"no host '{host}'", close_matches(host, region.inventory.hosts))
    named: dict[str, str] = {}
    if name and is_unit(name):
        named = {"unit": name}
    elif name:
        select(region, name, host)
        named = {"service" if name in region.catalog.services else "container": name}
    levels = list(Level)
    at_least = tuple(str(one) for one in levels[levels.index(level) :]) if level else ()
    return Search(
        **named, host=host or "", levels=at_least, request=wanted["request"], grep=wanted["grep"],
        lines=wanted["lines"], since=_time(wanted["since"]), until=_time(wanted["until"]),
    )  # fmt: skip


def find(region: Region, wanted: Search) -> list[Line]:
    """The lines, the oldest first.

    :raises ScsError: the region has no log store, or none answers
    """
    from scs_deploy.engine import remote

    return LogStore(region, remote.runner_in(region)).find(wanted)


def _time(stamp: str) -> datetime | None:
    return datetime.fromisoformat(stamp[:26] + "+00:00") if stamp else None
