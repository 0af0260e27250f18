# SPDX-License-Identifier: Apache-2.0
"""What monitoring servers read on which host, and what they watch for: all of it from the services' directories."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.desired import slo
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.catalog import close_matches
from scs_deploy.spec.metrics import FILE, WATCHDOG, Alert, Alerts, load
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
def rules(region: Region, without: tuple[str, ...] = (), levels: tuple[tuple[str, str], ...] = ()) -> str:
    """The records and alerts of all services of the region as a rule file of Prometheus, in groups for each service.

    https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/

    :param without: names of alerts that are left out
    :param levels: the setting `prometheus_slo`
    :raises RefusedError: an error in a service's alerts.yml, `without` names an alert that does not exist, or `levels`
        is wrong
    """
    found = {s.name: load(s.directory) for s in region.catalog.services.values()}
    _check_names(region, found, without)
    objectives = slo.group(region, dict(levels))
    groups = [objectives] if objectives else []
    for name, own in found.items():
        groups += _records(name, own)
        if own.alerts:
            rules = [_rule(region.catalog.services[name], a) for a in own.alerts if a.alert not in without]
            groups.append({"name": name, "rules": rules})
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)


def _check_names(region: Region, found: Mapping[str, Alerts], without: tuple[str, ...]) -> None:
    """:raises RefusedError: two services have the same name for something, or `without` names nothing"""
    owner: dict[str, str] = {}
    for service, own in found.items():
        for what, name in [
            *(("an alert", a.alert) for a in own.alerts),
            *(("a record", r.record) for r in own.records),
        ]:
            if name in owner or name == slo.OBJECTIVE:
                file = region.catalog.services[service].directory / FILE
                other = f"service {owner[name]}" if name in owner else "scs itself"
                raise RefusedError(f"{file}: {other} has {what} {name}, too", "rename it")
            owner[name] = service
    names = [a.alert for own in found.values() for a in own.alerts]
    if wrong := [name for name in without if name not in names]:
        raise RefusedError(f"prometheus_alerts_off: no alert '{wrong[0]}'", close_matches(wrong[0], names))
    if WATCHDOG in without:
        raise RefusedError(
            f"prometheus_alerts_off: without {WATCHDOG}, nobody knows whether alerts arrive", "remove it"
        )


def _records(service: str, own: Alerts) -> list[dict[str, Any]]:
    """The records of a service, a group for each interval."""
    by_interval: dict[str, list[dict[str, str]]] = {}
    for record in own.records:
        by_interval.setdefault(record.every, []).append({"record": record.record, "expr": record.expr})
    return [
        {"name": f"{service}, every {every}", "interval": every, "rules": rules} for every, rules in by_interval.items()
    ]


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
