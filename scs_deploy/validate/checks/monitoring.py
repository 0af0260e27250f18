# SPDX-License-Identifier: Apache-2.0
"""Check that monitoring sees the whole region, that alerts arrive, and that logs are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired import metrics
from scs_deploy.engine import remote
from scs_deploy.shared.log_store import LogStore
from scs_deploy.shared.monitoring import WATCHDOG, Monitoring
from scs_deploy.validate import measure
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check

FRESH = timedelta(minutes=10)
"""A host always writes something in this time: health checks, timers, the engine."""

DEADLINE = 240
"""Seconds: Prometheus has just started, reads its targets every 30 s, and an alert takes a minute to arrive."""


@check("monitoring")
def monitoring(region: Region) -> Outcome:
    """Each Prometheus reads the metrics of all services on all hosts, and alerts arrive at each Alertmanager."""
    described = region.description
    try:
        servers = Monitoring(described, remote.runner_in(described))
    except RefusedError:
        raise NotApplicableError("the region has no monitoring") from None
    wanted = {(t.container, t.host) for own in metrics.by_container(described).values() for t in own}
    _settled(
        lambda: [f"{p} (as {host} sees it)" for host, own in servers.each().items() for p in problems_of(own, wanted)]
    )
    return Outcome(f"{len(wanted)} targets")


@check("logs")
def logs(region: Region) -> Outcome:
    """Each log store gets the lines of all hosts."""
    described = region.description
    try:
        stores = LogStore(described, remote.runner_in(described))
    except RefusedError:
        raise NotApplicableError("the region has no monitoring") from None
    wanted, begin = set(described.inventory.hosts), datetime.now(UTC)

    def look() -> list[str]:
        try:
            return late(stores.newest(), wanted, begin - FRESH)
        except ScsError as error:
            return [str(error)]

    _settled(look)
    return Outcome(f"{len(wanted)} hosts in {len(stores.hosts)} stores")


def _settled(look: Callable[[], list[str]]) -> None:
    """Wait until there is no problem.

    :raises CheckFailedError: some are left after DEADLINE seconds
    """
    problems: list[str] = []

    def none() -> bool:
        problems[:] = look()
        return not problems

    if not measure.until(none, DEADLINE, 5):
        raise CheckFailedError("; ".join(problems[:5]))


def late(newest: dict[str, dict[str, str]], wanted: set[str], since: datetime) -> list[str]:
    """Hosts of which a store has nothing new.

    :param newest: store's host: {host: time of its newest line}
    """
    return [
        f"the log store on {store} has no lines of {host}" + (f" since {times[host]}" if host in times else "")
        for store, times in newest.items()
        for host in sorted(wanted)
        if host not in times or datetime.fromisoformat(times[host]) < since
    ]


def problems_of(servers: Monitoring, wanted: set[tuple[str, str]]) -> list[str]:
    """What the servers of a host do not see, or do not tell.

    :param wanted: job and host of each target
    """
    try:
        targets = {(t.job, t.host): t for t in servers.targets()}
        alerts = servers.alerts()
    except ScsError as error:
        return [str(error)]
    found = [f"Prometheus does not read {job} on {host}" for job, host in sorted(wanted - targets.keys())]
    served = {t.job for t in targets.values() if t.active_only and t.up}
    found += [f"{job} on {host}: {t.error}" for (job, host), t in targets.items() if not t.up and job not in served]
    if not any(a.name == WATCHDOG for a in alerts):
        found.append("no alert arrives at Alertmanager")
    return found
