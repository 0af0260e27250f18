# SPDX-License-Identifier: Apache-2.0
"""A look at a region, in a process of its own: `python -m scs_deploy.api.look KIND ENVIRONMENT [NAME...]`.

The page's own process has neither the region's secrets nor its keys, and no look makes it slow. A look is what the
command of the same subject does. It prints one JSON object: `value`, or `error` and `hint`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from scs_deploy.api import facts
from scs_deploy.api.facts import Kind
from scs_deploy.base import variables
from scs_deploy.base.errors import ScsError
from scs_deploy.base.failures import explained
from scs_deploy.base.model import Model
from scs_deploy.engine import remote
from scs_deploy.engine.observe import make_plan
from scs_deploy.inventory import refresh, source
from scs_deploy.operations import certificates, containers, removed
from scs_deploy.operations.backup import listing, proofs, volumes
from scs_deploy.prober.answering import answering
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import pki
from scs_deploy.secrets.issuing import RENEW_DAYS, Wanted
from scs_deploy.shared.monitoring import Labels, Monitoring, Point, arrive
from scs_deploy.state.journal import logging_to

SPAN, STEP = timedelta(hours=6), 300
"""Of charts: their length, and seconds between two points."""

CHARTS = {
    "cpu": ("container", "sum by (container) (rate(scs_container_cpu_seconds_total[5m]))"),
    "memory": ("container", "sum by (container) (scs_container_memory_bytes)"),
    "requests": ("proxy", "sum by (proxy) (rate(haproxy_frontend_http_requests_total[5m]))"),
    "errors": ("proxy", 'sum by (proxy) (rate(haproxy_frontend_http_responses_total{code="5xx"}[5m]))'),
    "latency": (
        "proxy",
        "max by (proxy) (haproxy_backend_total_time_average_seconds)",
    ),
}
"""Name of a chart: the label that names its series, and the query. One query for all services."""

NICE = 5
"""Looks yield to runs, and to the page."""


def of_containers(region: Region, _names: Sequence[str]) -> Model:
    """As `scs status`."""
    states, drained = containers.observe(region, (), ())
    trouble, evacuated = containers.storage(region, ())
    return facts.Containers(
        states=tuple(facts.State.model_validate(s) for s in states), drained=tuple(drained), evacuated=evacuated,
        storage=trouble,
    )  # fmt: skip


def of_plan(region: Region, _names: Sequence[str]) -> Model:
    """As `scs plan`."""
    made = make_plan(region, Selection((), ()))
    return facts.Drift(plan=made, stays=tuple(removed.stays_of(region, made)))


def of_monitoring(region: Region, _names: Sequence[str]) -> Model:
    """As `scs alerts list --all`, with silences, targets and charts."""
    monitoring = Monitoring(region, remote.runner_in(region))
    alerts = monitoring.alerts()
    now = datetime.now(UTC)
    charts = {
        name: series(label, monitoring.ranges(expression, now - SPAN, now, STEP))
        for name, (label, expression) in CHARTS.items()
    }
    return facts.Monitored(
        alerts=alerts, arrive=arrive(alerts), silences=monitoring.silences(), targets=monitoring.targets(),
        charts=charts,
    )  # fmt: skip


def series(label: str, found: dict[Labels, list[Point]]) -> tuple[facts.Series, ...]:
    """Curves by the value of a label, sorted."""
    named = {dict(labels).get(label, ""): tuple(points) for labels, points in found.items()}
    return tuple(facts.Series(name=name, points=points) for name, points in sorted(named.items()) if name)


def of_answers(region: Region, _names: Sequence[str]) -> Model:
    """Whether the public APIs answer."""
    return facts.Answers(reasons=answering(region))


def of_certificates(region: Region, _names: Sequence[str]) -> Model:
    """As `scs certs check`."""
    entries = certificates.known(region)
    entries += certificates.served(region, certificates.targets(region))
    problems = certificates.problems(entries, RENEW_DAYS, certificates.now())
    return facts.Certificates(entries=tuple(entries), problems=tuple(problems))


def of_backups(region: Region, _names: Sequence[str]) -> Model:
    """As `scs backup list`."""
    found = listing.listed(region.environment)
    verified = proofs.read(region.environment)
    of_users = volumes.read(region.environment) if volumes.SERVICE in region.catalog.services else None
    return facts.Backups(
        target=found.target, damaged={b: d.why for b, d in found.damaged.items()}, unchecked=found.unchecked,
        volumes=of_users.model_dump(mode="json") if of_users else None,
        backups=tuple(
            facts.Backup(
                id=m.id, started=m.started, release=m.release, size=m.size, seconds=m.seconds,
                kind=m.database.kind.value if m.database else "", base=m.database.base if m.database else "",
                parts=tuple(p.name for p in m.parts), authentic=found.authentic[b], verified=verified.get(b, ""),
            )
            for b, m in found.backups.items()
        ),
    )  # fmt: skip


def of_inventory(region: Region, _names: Sequence[str]) -> Model:
    """As `scs inventory diff`."""
    found = refresh.compare(region.environment.name, source.NETBOX, lambda _done, _total: None)
    return facts.Differences(
        source=found.document.source, diff=found.diff, problems=tuple(str(p) for p in found.problems)
    )


def of_leaf(region: Region, names: Sequence[str]) -> Model:
    """A new certificate for the page."""
    return facts.Own(leaf=pki.issue_apart(region.environment, Wanted(names=tuple(names), unit="page")))


LOOKS: dict[Kind, Callable[[Region, Sequence[str]], Model]] = {
    Kind.CONTAINERS: of_containers, Kind.PLAN: of_plan, Kind.MONITORING: of_monitoring, Kind.ANSWERS: of_answers,
    Kind.CERTIFICATES: of_certificates, Kind.BACKUPS: of_backups, Kind.INVENTORY: of_inventory, Kind.LEAF: of_leaf,
}  # fmt: skip


def look(kind: Kind, environment: str, names: Sequence[str] = ()) -> dict[str, object]:
    """What a look reports, see `facts`."""
    try:
        region = Region.load(environment, reading=True)
        with logging_to(region.environment):
            return {"value": LOOKS[kind](region, names).model_dump(mode="json", by_alias=True)}
    except ScsError as error:
        return {"error": error.message, "hint": error.hint}
    except Exception as error:
        logging.getLogger("scs").exception("a look of the page failed")
        said = explained(error)
        return {"error": said.message, "hint": ""}


def main() -> None:
    """Entry point."""
    variables.adopt()
    os.nice(NICE)
    kind, environment, *names = sys.argv[1:]
    print(json.dumps(look(Kind(kind), environment, names)))


if __name__ == "__main__":
    main()
