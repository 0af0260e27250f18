# SPDX-License-Identifier: Apache-2.0
"""The messages between a prober and the run that started it, as lines of JSON."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.state.measurement import Summary

RATE = 4.5
"""List calls per second for all services in total."""

TOKENS = 1.0
"""Seconds between two tokens. Keystone hashes a password for each one, which is slow by design."""

WRITES = 60.0
"""Seconds between two writes of a service."""

PINGS = 0.5
"""Seconds between two ICMP echo requests to a test VM."""


class Target(Model):
    """An API to probe."""

    name: str = Field(description="service type in Keystone's catalogue, or the endpoint's name")
    url: str = Field(default="", description="base URL; empty: from Keystone's catalogue, with a token")
    list: str = Field(description="path of a list call")
    create: str = Field(default="", description="path of a collection to create a small resource in; empty: no writes")
    key: str = Field(default="", description="key that wraps a resource; its plural wraps a list of them")
    reference: str = Field(default="", description="key whose value is a resource's URL; empty: it has an `id`")
    body: dict[str, str | int | tuple[str, ...]] = Field(
        default={}, description="attributes of the resource in addition to its name"
    )


class ProbeJob(Model):
    """Everything that a prober needs to know."""

    auth_url: str
    password: str = Field(repr=False)
    ca: Path
    addresses: dict[str, str] = Field(description="host name in URLs: its address")
    targets: tuple[Target, ...]
    ping: str = Field(default="", description="address of a test VM")
    timeout: float = 10.0
    lock: Path | None = Field(default=None, description="lock file that only one prober of a region holds at a time")
    samples: Path | None = Field(default=None, description="file to append every request to, as lines of JSON")

    @property
    def interval(self) -> float:
        """Seconds between two list calls of one service."""
        return max(len(self.targets) / RATE, 0.5)


class News(Model):
    """A report of the prober: at the start, every few seconds, and at the end."""

    absent: str = Field(
        default="", description="reason why nothing is measured: the region did not respond before the run"
    )
    unmeasured: dict[str, str] = Field(default={}, description="target: reason why it is not measured")
    left: tuple[str, ...] = Field(default=(), description="resources of the prober that could not be removed")
    summaries: tuple[Summary, ...] = ()
    final: bool = False

    @property
    def failed(self) -> int:
        """Number of failed requests so far."""
        return sum(s.failed for s in self.summaries)
