# SPDX-License-Identifier: Apache-2.0
"""What monitoring servers read on which host, and what they watch for: all of it from the services' directories."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

from scs_deploy.base.model import Model
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.metrics import Alert, alerts
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
def rules(region: Region) -> str:
    """The alerts of all services of the region as a rule file of Prometheus, a group for each service.

    https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/

    :raises RefusedError: an error in a service's alerts.yml
    """
    groups = [
        {"name": service.name, "rules": [_rule(service, a) for a in own]}
        for service in region.catalog.services.values()
        if (own := alerts(service.directory))
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
