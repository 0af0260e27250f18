# SPDX-License-Identifier: Apache-2.0
"""A region's Alertmanager and Prometheus, asked in their own containers: alerts, silences, targets.

Sources: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml,
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.region.region import Region
from scs_deploy.spec import metrics
from scs_deploy.spec.catalog import close_matches

Run = Callable[[str, str, tuple[str, ...]], tuple[int, str]]
"""Runs a command in a container: (host, container, argv) -> (exit code, output)."""

GROUP = "monitoring"
ABOUT_HOSTS = ("prometheus", "node_exporter")
"""Services whose alerts are about hosts and about containers of others, not about themselves."""

WATCHDOG = metrics.WATCHDOG

ALERTS, METRICS = "alertmanager", "prometheus"
"""Service, and its container."""

ALERTMANAGER, PROMETHEUS = "http://127.0.0.1:9093/api/v2", "http://127.0.0.1:9090/api/v1"


Labels = tuple[tuple[str, str], ...]
"""Of a series, sorted by name."""

Point = tuple[float, float]
"""Seconds since the epoch, value."""


class Alert(Model):
    """An alert that Alertmanager has."""

    name: str
    severity: str
    service: str
    host: str
    """empty: it is about no single one"""
    summary: str
    impact: str
    runbook: str
    since: datetime
    silenced: bool
    inhibited: bool = Field(description="another alert says the same and more")
    labels: dict[str, str]

    @property
    def counts(self) -> bool:
        """Whether somebody should look."""
        return not (self.silenced or self.inhibited or self.name == WATCHDOG)


class Silence(Model):
    """What keeps alerts from being told, for a while."""

    id: str
    matchers: dict[str, str]
    """label: value; with a `~` before it a regular expression, with a `!` before that what the label must not be"""
    until: datetime
    by: str
    comment: str


class Target(Model):
    """Metrics that Prometheus reads."""

    job: str
    host: str
    up: bool
    error: str
    active_only: bool
    """the others of its job need not show any"""


class Monitoring:
    """The monitoring servers of a region.

    :param run: how commands get into containers
    :raises RefusedError: the region has none
    """

    def __init__(self, region: Region, run: Run) -> None:
        self._run = run
        present = "alertmanager" in region.catalog.services
        self._hosts = {n: [h.name for h in region.hosts_of(n)] for n in (ALERTS, METRICS) if present}
        if not present:
            raise RefusedError(
                f"this region has no monitoring: no host is in group {GROUP}",
                f"add two hosts to the inventory's group {GROUP}: docs/how-to/monitoring.md",
            )

    def each(self) -> dict[str, Monitoring]:
        """host: the servers of that host alone."""
        found: dict[str, Monitoring] = {}
        for host in sorted({h for hosts in self._hosts.values() for h in hosts}):
            found[host] = copy.copy(self)
            found[host]._hosts = {n: [host] for n, hosts in self._hosts.items() if host in hosts}
        return found

    def alerts(self) -> tuple[Alert, ...]:
        """All alerts, the worst first.

        :raises ScsError: no Alertmanager answers
        """
        found = [_alert(a) for a in self._alertmanager("/alerts")]
        return tuple(sorted(found, key=lambda a: (a.severity != "critical", a.name, a.host)))

    def silences(self) -> tuple[Silence, ...]:
        """The silences that are in force, those that end first before the others.

        :raises ScsError: no Alertmanager answers
        """
        found = [_silence(s) for s in self._alertmanager("/silences") if s["status"]["state"] != "expired"]
        return tuple(sorted(found, key=lambda s: s.until))

    def silence(
        self, matchers: Mapping[str, str], begin: datetime, end: datetime, by: str, comment: str, identifier: str = ""
    ) -> str:
        """Have alerts with these labels told to nobody; returns the silence's id.

        :param matchers: as in `Silence`
        :param identifier: of a silence that this one replaces; empty: none
        :raises ScsError: no Alertmanager answers
        """
        body: dict[str, Any] = {
            "matchers": [
                {"name": n, "value": v.removeprefix("~"), "isRegex": v.startswith("~"), "isEqual": True}
                for n, v in matchers.items()
            ],
            "startsAt": begin.isoformat(), "endsAt": end.isoformat(), "createdBy": by, "comment": comment,
        }  # fmt: skip
        if identifier:
            body["id"] = identifier
        said = self._alertmanager("/silences", "--header", "Content-Type: application/json", "--data", json.dumps(body))
        return str(said["silenceID"])

    def end_silence(self, identifier: str) -> None:
        """:raises ScsError: no Alertmanager answers, or it has no such silence"""
        self._alertmanager(f"/silence/{identifier}", "--request", "DELETE")

    def targets(self) -> tuple[Target, ...]:
        """What Prometheus reads, by job and host.

        :raises ScsError: no Prometheus answers
        """
        data = self._ask(METRICS, f"{PROMETHEUS}/targets?state=active")["data"]["activeTargets"]
        found = [
            Target(
                job=t["labels"]["job"],
                host=t["labels"]["host"],
                up=t["health"] == "up",
                error=t["lastError"],
                active_only="active_only" in t["labels"],
            )
            for t in data
        ]
        return tuple(sorted(found, key=lambda t: (t.job, t.host)))

    def query(self, expression: str) -> dict[Labels, float]:
        """{labels, sorted: value} of an instant query in PromQL.

        :raises ScsError: no Prometheus answers, or the expression is wrong
        """
        found = self._ask(METRICS, f"{PROMETHEUS}/query", "--get", "--data-urlencode", f"query={expression}")
        return {tuple(sorted(r["metric"].items())): float(r["value"][1]) for r in found["data"]["result"]}

    def ranges(self, expression: str, begin: datetime, end: datetime, step: int) -> dict[Labels, list[Point]]:
        """{labels, sorted: points} of a range query in PromQL.

        :param step: seconds between two points
        :raises ScsError: no Prometheus answers, or the expression is wrong
        """
        given = {
            "query": expression, "start": f"{begin.timestamp():.0f}", "end": f"{end.timestamp():.0f}", "step": str(step)
        }  # fmt: skip
        words = [word for key, value in given.items() for word in ("--data-urlencode", f"{key}={value}")]
        found = self._ask(METRICS, f"{PROMETHEUS}/query_range", "--get", *words)
        return {
            tuple(sorted(r["metric"].items())): [(float(t), float(v)) for t, v in r["values"]]
            for r in found["data"]["result"]
        }

    def _alertmanager(self, path: str, *words: str) -> Any:
        return self._ask(ALERTS, ALERTMANAGER + path, *words)

    def _ask(self, container: str, url: str, *words: str) -> Any:
        """The answer of the first server that gives one."""
        _, output = first_answer(self._run, self._hosts[container], container, (*CURL, *words, url))
        return json.loads(output) if output.strip() else {}


def first_answer(
    run: Run, hosts: Iterable[str], container: str, argv: tuple[str, ...], what: str = ""
) -> tuple[str, str]:
    """(host, output) of a command in a container, on the first host where it succeeds.

    :param what: to call the container in the error; empty: by its name
    :raises ScsError: it fails on all hosts
    """
    said = ""
    for host in hosts:
        code, output = run(host, container, argv)
        if code == 0:
            return host, output
        said = said or f"{host}: {_last(output)}"
    raise ScsError(f"no {what or container} answers: {said}", f"scs status {container}")


def arrive(alerts: Iterable[Alert]) -> bool:
    """Whether an alert would arrive: the one that is always there has."""
    return any(a.name == WATCHDOG for a in alerts)


def of_services(services: Iterable[str], **labels: str) -> list[dict[str, str]]:
    """Matchers of silences for alerts of services and of their containers, one mapping for each silence.

    :param labels: further ones that they must have, as in `Silence`
    """
    names = list(services)
    own = [n for n in names if n not in ABOUT_HOSTS]
    found = [{**labels, "container_service": any_of(names)}] if names else []
    return [*found, {**labels, "service": any_of(own)}] if own else found


def any_of(names: Iterable[str]) -> str:
    """What a label must be that is any of these names. They hold nothing that is special in a regular expression."""
    ordered = sorted(names)
    return ordered[0] if len(ordered) == 1 else "~" + "|".join(ordered)


def check_names(region: Region, named: Mapping[str, str]) -> None:
    """Refuse a label's value that no alert of the region has.

    :param named: `alertname`, `host`, `service`, as far as they matter
    :raises RefusedError: there is none
    """
    known = {
        # a silent watchdog would be one that nobody hears
        "alertname": [
            a.alert
            for s in region.catalog.services.values()
            for a in metrics.alerts(s.directory)
            if a.alert != WATCHDOG
        ],
        "host": list(region.inventory.hosts),
        "service": list(region.catalog.services),
    }
    for label, value in named.items():
        if value not in known[label]:
            what = {"alertname": "alert"}.get(label, label)
            raise RefusedError(f"no {what} '{value}'", close_matches(value, known[label]))


CURL = ("curl", "--fail", "--silent", "--show-error", "--max-time", "20", "--globoff")


def _last(output: str) -> str:
    lines: Sequence[str] = output.strip().splitlines()
    return lines[-1] if lines else "no answer"


def _alert(data: Mapping[str, Any]) -> Alert:
    labels, said, status = data["labels"], data["annotations"], data["status"]
    return Alert(
        name=labels["alertname"], severity=labels.get("severity", ""), service=labels.get("service", ""),
        host=labels.get("host", ""), summary=said.get("summary", ""), impact=said.get("impact", ""),
        runbook=said.get("runbook", ""), since=data["startsAt"], silenced=bool(status["silencedBy"]),
        inhibited=bool(status["inhibitedBy"]), labels=labels,
    )  # fmt: skip


def _silence(data: Mapping[str, Any]) -> Silence:
    return Silence(
        id=data["id"],
        matchers={
            m["name"]: ("" if m.get("isEqual", True) else "!") + ("~" if m["isRegex"] else "") + m["value"]
            for m in data["matchers"]
        },
        until=data["endsAt"],
        by=data["createdBy"],
        comment=data["comment"],
    )
