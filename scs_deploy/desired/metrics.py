# SPDX-License-Identifier: Apache-2.0
"""What monitoring servers read on which host, and what they watch for: all of it from the services' directories."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.catalog import close_matches
from scs_deploy.spec.metrics import FILE, WATCHDOG, Alert, alerts
from scs_deploy.spec.service import Service


class Target(Model):
    """The metrics of a container on a host."""

    container: str
    service: str
    layer: str
    host: str
    address: str
    """the host's, on the management network"""
    port: int
    """of the process, on the host's loopback"""
    path: str
    accepts: str | None
    active_only: bool


def of_host(region: Region, host: Host) -> tuple[Target, ...]:
    """The targets of a host, in the catalog's order."""
    return tuple(
        Target(
            container=name, service=service.name, layer=service.layer, host=host.name, address=host.management,
            **spec.metrics.model_dump(),
        )
        for service in region.catalog.services.values()
        for name, spec in service.containers.items()
        if spec.metrics and host.runs(service.groups(name))
    )  # fmt: skip


@lru_cache(maxsize=8)
def by_container(region: Region) -> dict[str, tuple[Target, ...]]:
    """container: its targets on all hosts, by host name."""
    found: dict[str, list[Target]] = {}
    for name in sorted(region.inventory.hosts):
        for target in of_host(region, region.inventory.hosts[name]):
            found.setdefault(target.container, []).append(target)
    return {name: tuple(targets) for name, targets in found.items()}


@lru_cache(maxsize=8)
def rules(region: Region, without: tuple[str, ...] = ()) -> str:
    """The alerts of all services of the region as a rule file of Prometheus, a group for each service.

    https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/

    :param without: names of alerts that are left out
    :raises RefusedError: an error in a service's alerts.yml, or `without` names an alert that does not exist
    """
    found = {s.name: alerts(s.directory) for s in region.catalog.services.values()}
    owner: dict[str, str] = {}
    for service, own in found.items():
        for alert in own:
            if alert.alert in owner:
                file = region.catalog.services[service].directory / FILE
                raise RefusedError(f"{file}: service {owner[alert.alert]} has an alert {alert.alert}, too", "rename it")
            owner[alert.alert] = service
    if wrong := [name for name in without if name not in owner]:
        raise RefusedError(f"prometheus_alerts_off: no alert '{wrong[0]}'", close_matches(wrong[0], owner))
    if WATCHDOG in without:
        raise RefusedError(
            f"prometheus_alerts_off: without {WATCHDOG}, nobody knows whether alerts arrive", "remove it"
        )
    groups = [
        {"name": name, "rules": [_rule(region.catalog.services[name], a) for a in own if a.alert not in without]}
        for name, own in found.items()
        if own
    ]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)


def _rule(service: Service, alert: Alert) -> dict[str, Any]:
    said = {"summary": alert.summary, "impact": alert.impact}
    if not service.own:
        said["runbook"] = f"docs/runbooks/{service.name}.md#{alert.alert.lower()}"
    return {
        "alert": alert.alert,
        "expr": alert.expr,
        "for": alert.hold,
        "labels": {"severity": alert.severity, "service": service.name},
        "annotations": said,
    }
