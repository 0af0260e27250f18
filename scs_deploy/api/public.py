# SPDX-License-Identifier: Apache-2.0
"""What everybody may know of a region: which APIs answer, and what its operators announce. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from scs_deploy.base.model import Model
from scs_deploy.shared.monitoring import Alert


class Condition(StrEnum):
    """Of an API."""

    WORKS = "works"
    TROUBLED = "troubled"
    """it answers, and an alert says that users notice trouble"""
    DOWN = "down"
    UNKNOWN = "unknown"


class Api(Model):
    """An API as its users know it."""

    name: str
    """its type in the catalogue"""
    condition: Condition


def conditions(
    services: Mapping[str, str], reasons: Mapping[str, str] | None, alerts: Iterable[Alert] | None
) -> tuple[Api, ...]:
    """The condition of each API. Neither reasons nor alerts themselves leave this function.

    :param services: endpoint: its service
    :param reasons: endpoint: why it does not answer, empty if it does; None: nobody knows
    :param alerts: None: nobody knows
    """
    troubled = [a for a in alerts or () if a.counts and a.severity == "critical"]
    proxies = {a.labels.get("proxy", "") for a in troubled}
    owners = {a.service for a in troubled if "proxy" not in a.labels}

    def condition(name: str, service: str) -> Condition:
        if reasons is None or name not in reasons:
            return Condition.UNKNOWN
        if reasons[name]:
            return Condition.DOWN
        return Condition.TROUBLED if name in proxies or service in owners else Condition.WORKS

    return tuple(Api(name=name, condition=condition(name, service)) for name, service in services.items())


def worst(apis: Iterable[Api]) -> Condition:
    """The condition of the region."""
    order = (Condition.DOWN, Condition.TROUBLED, Condition.UNKNOWN, Condition.WORKS)
    found = {a.condition for a in apis}
    return next((c for c in order if c in found), Condition.UNKNOWN)
