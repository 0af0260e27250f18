# SPDX-License-Identifier: Apache-2.0
"""How well each endpoint has served its clients, against its service level: the series that Prometheus records."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.desired.slo import OBJECTIVE
from scs_deploy.region.region import Region
from scs_deploy.shared.monitoring import Monitoring

RATIO, BUDGET = "proxy:http_errors:ratio30d", "proxy:slo_budget:left"
REQUESTS, RESPONSE = "proxy:http_requests:rate5m", "proxy:http_response_seconds:mean"
"""Of HAProxy's alerts.yml."""

EVERY, WINDOW = 60, "30d"
"""Seconds between two samples of `REQUESTS`; what `RATIO` covers at most."""

SERIES = (OBJECTIVE, RATIO, BUDGET, REQUESTS, RESPONSE)


class Level(Model):
    """An endpoint and its service level, over at most 30 days."""

    endpoint: str
    service: str
    objective: float = Field(description="percent")
    availability: float | None = Field(description="percent of requests without a server error; None: no request")
    budget_left: float | None = Field(description="1: all; 0: nothing; below 0: the service level is missed")
    measured_seconds: int = Field(description="for how long there is data")
    requests_per_second: float | None = Field(description="now")
    response_seconds: float | None = Field(description="mean, now; None: no request")


def levels(region: Region, monitoring: Monitoring) -> tuple[Level, ...]:
    """The endpoints that have a service level, by name.

    :raises ScsError: no Prometheus answers
    """
    found: dict[str, dict[str, float]] = {}
    for key, value in monitoring.query(f'{{__name__=~"{"|".join(SERIES)}"}}').items():
        labels = dict(key)
        found.setdefault(labels["proxy"], {})[labels["__name__"]] = value
    counted = monitoring.query(f"count_over_time({REQUESTS}[{WINDOW}])")
    minutes = {dict(key)["proxy"]: value for key, value in counted.items()}
    services = {e.name: e.service for e in endpoints(region)}
    return tuple(
        _level(name, services.get(name, ""), found[name], round(minutes.get(name, 0)) * EVERY)
        for name in sorted(found)
        if OBJECTIVE in found[name]
    )


def _level(name: str, service: str, series: Mapping[str, float], measured: int) -> Level:
    ratio = series.get(RATIO)
    return Level(
        endpoint=name,
        service=service,
        objective=round(100 * series[OBJECTIVE], 5),
        availability=None if ratio is None else round(100 * (1 - ratio), 5),
        budget_left=series.get(BUDGET),
        measured_seconds=measured,
        requests_per_second=series.get(REQUESTS),
        response_seconds=series.get(RESPONSE),
    )
