# SPDX-License-Identifier: Apache-2.0
"""The service levels of a region's endpoints, as series of which the alerts of HAProxy make their thresholds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.region.region import Region
from scs_deploy.spec.catalog import close_matches

SETTING = "prometheus_slo"

OBJECTIVE = "proxy:slo:objective"
"""A series for each endpoint: the part of its requests, 0 to 1, that is to be answered without a server error."""

OFF = "off"

_PERCENT = re.compile(r"[0-9]{2}([.][0-9]{1,5})?")


def objectives(region: Region, changed: Mapping[str, str]) -> dict[str, float]:
    """endpoint: percent of its requests, for those that have a service level.

    :param changed: the setting `prometheus_slo`: percent, or `off`, by endpoint
    :raises RefusedError: there is no such HTTP endpoint, or the value is no service level
    """
    known = {e.name: e.slo for e in endpoints(region) if e.protocol == "http"}
    for name, value in changed.items():
        if name not in known:
            raise RefusedError(f"{SETTING}: no HTTP endpoint '{name}'", close_matches(name, known))
        if value != OFF and not (_PERCENT.fullmatch(value) and 50 <= float(value) < 100):
            raise RefusedError(
                f"{SETTING}: {name} is '{value}', no service level", f'write e.g. {name}: "99.95", or {name}: "{OFF}"'
            )
    wanted = {**known, **{name: None if value == OFF else float(value) for name, value in changed.items()}}
    return {name: percent for name, percent in wanted.items() if percent is not None}


def group(region: Region, changed: Mapping[str, str]) -> dict[str, Any] | None:
    """The series as a group of Prometheus's rules; None: no endpoint has a service level.

    :raises RefusedError: `changed` is wrong
    """
    rules = [
        {"record": OBJECTIVE, "expr": f"vector({round(percent / 100, 7)})", "labels": {"proxy": name}}
        for name, percent in objectives(region, changed).items()
    ]
    return {"name": "service levels", "interval": "1m", "rules": rules} if rules else None
