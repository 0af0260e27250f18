# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: where a container serves metrics, and what calls for somebody (`alerts.yml` beside it)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from scs_deploy.base.model import Written, load_model
from scs_deploy.spec import promql

FILE = "alerts.yml"
"""Beside service.yml."""

WATCHDOG = "Watchdog"
"""An alert that is always there: without it, no other one would arrive either."""

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[smhd]$")]


class Metrics(Written):
    """Metrics in Prometheus's text format, over HTTP on loopback; monitoring servers come through `metrics_ingress`."""

    port: int = Field(ge=1, le=65535, description="on 127.0.0.1")
    path: str = Field(default="/metrics", pattern=r"^/[\w./?&=-]*$", description="with its query, if any")
    accepts: str | None = Field(
        default=None, pattern=r"^/[\w./-]+$", description="path to which monitoring servers send, too: alerts"
    )
    active_only: bool = Field(
        default=False, description="of its hosts, only the one in charge shows them: no alert if the others do not"
    )


def _checked(expr: str, name: str) -> str:
    """:raises ValueError: Prometheus would refuse it, and with it all rules"""
    try:
        promql.check(expr)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from None
    return expr


class Alert(Written):
    """An entry of `alerts` in `alerts.yml` beside service.yml: a condition that calls for somebody.

    Its runbook is the heading of its name in `docs/runbooks/<service>.md`.

    https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
    """

    alert: str = Field(pattern=r"^[A-Z][A-Za-z0-9]{2,60}$", description="its name, unique in the catalog")
    expr: str = Field(description="PromQL: one alert for each series that it gives; labels `host`, `service`")
    hold: Duration = Field(
        default="2m", alias="for", description="how long it must be true: shorter trouble mends itself"
    )
    severity: Literal["critical", "warning"] = Field(
        description="`critical`: users notice, or will soon; `warning`: somebody should look today"
    )
    summary: str = Field(
        min_length=1, description="what is wrong, in a line; may hold `{{ $labels.host }}` and `{{ $value }}`"
    )
    impact: str = Field(min_length=1, description="what it means for users")

    @field_validator("expr")
    @classmethod
    def _valid(cls, expr: str, info: ValidationInfo) -> str:
        return _checked(expr, info.data.get("alert", ""))


class Record(Written):
    """An entry of `records` in `alerts.yml`: an expression whose value is kept as a series of its own.

    For what several alerts need, and for windows that would be too long to add up with each evaluation.

    https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
    """

    record: str = Field(
        pattern=r"^[a-z][a-z0-9_]*:[a-z][a-z0-9_]*:[a-z][a-z0-9_]*$",
        description="name of the series: `labels:what:how`, e.g. `proxy:http_requests:rate5m`",
    )
    expr: str = Field(description="PromQL")
    every: Literal["30s", "1m", "2m"] = Field(
        default="1m", description="how often it is evaluated: long windows more rarely"
    )

    @field_validator("expr")
    @classmethod
    def _valid(cls, expr: str, info: ValidationInfo) -> str:
        return _checked(expr, info.data.get("record", ""))


class Alerts(Written):
    """The file `alerts.yml`."""

    records: tuple[Record, ...] = Field(default=(), description="evaluated in this order, before the alerts")
    alerts: tuple[Alert, ...] = ()


@lru_cache(maxsize=256)
def load(directory: Path) -> Alerts:
    """The file of the service in a directory; empty without it.

    :raises RefusedError: an error in it, with file and line
    """
    file = directory / FILE
    return load_model(Alerts, file) if file.is_file() else Alerts()


def alerts(directory: Path) -> tuple[Alert, ...]:
    """The alerts of the service in a directory; none without the file.

    :raises RefusedError: an error in it, with file and line
    """
    return load(directory).alerts
