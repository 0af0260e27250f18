# SPDX-License-Identifier: Apache-2.0
"""What a prober is told, and what it tells: lines of JSON between it and the run that started it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.state.measurement import Summary

RATE = 4.5
"""List calls per second, all services together."""

TOKENS = 1.0
"""Seconds between two tokens: Keystone hashes a password for each, with a purpose slowly."""

WRITES = 60.0
"""Seconds between two writes of a service."""

PINGS = 0.5
"""Seconds between two echoes to a test VM."""


class Target(Model):
    """An API to ask."""

    name: str = Field(description="service type in Keystone's catalogue, or the endpoint's name")
    url: str = Field(default="", description="base URL; empty: from Keystone's catalogue, with a token")
    list: str = Field(description="path of a list call")
    create: str = Field(default="", description="path of a collection that takes a small resource; empty: no writes")
    key: str = Field(default="", description="key that wraps a resource; its plural wraps their list")
    body: dict[str, str | int | tuple[str, ...]] = Field(default={}, description="what it must say beside its name")


class Order(Model):
    """All that a prober must know."""

    auth_url: str
    password: str = Field(repr=False)
    ca: Path
    addresses: dict[str, str] = Field(description="address of each name in URLs")
    targets: tuple[Target, ...]
    ping: str = Field(default="", description="address of a test VM")
    timeout: float = 10.0
    lock: Path | None = Field(default=None, description="file that one prober of a region holds at a time")
    samples: Path | None = Field(default=None, description="file that every request is appended to, as lines of JSON")

    @property
    def interval(self) -> float:
        """Seconds between two list calls of one service."""
        return max(len(self.targets) / RATE, 0.5)


class News(Model):
    """What a prober says: when it begins, every few seconds, and at the end."""

    absent: str = Field(default="", description="why nothing is measured: the region did not answer before the run")
    unmeasured: dict[str, str] = Field(default={}, description="target: why it is left out")
    left: tuple[str, ...] = Field(default=(), description="what the prober made and could not remove")
    summaries: tuple[Summary, ...] = ()
    final: bool = False

    @property
    def failed(self) -> int:
        """Requests that failed so far."""
        return sum(s.failed for s in self.summaries)
