# SPDX-License-Identifier: Apache-2.0
"""What the page knows of a region, in the form in which its looks report it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.inventory.diff import Diff
from scs_deploy.operations.certificates import Entry
from scs_deploy.operations.removed import Remains
from scs_deploy.plan.region import Plan
from scs_deploy.secrets.issuing import Leaf
from scs_deploy.shared.monitoring import Alert, Silence, Target


class Kind(StrEnum):
    """Kinds of facts. Each has a look of its own, see `look`."""

    CONTAINERS = "containers"
    PLAN = "plan"
    MONITORING = "monitoring"
    ANSWERS = "answers"
    CERTIFICATES = "certificates"
    BACKUPS = "backups"
    INVENTORY = "inventory"
    LEAF = "leaf"
    """the page's own certificate; of no page"""


class State(Model):
    """A container on a host."""

    host: str
    service: str
    container: str
    state: str
    health: str
    restarts: int
    started: str | None
    image: str
    reason: str = ""
    """why its host does not respond"""


class Containers(Model):
    """Of all hosts."""

    states: tuple[State, ...]
    drained: tuple[str, ...] = ()
    evacuated: tuple[str, ...] = ()
    storage: str = Field(default="", description="what is wrong with the region's Ceph")


class Drift(Model):
    """What `scs apply` would change now."""

    plan: Plan
    stays: tuple[Remains, ...] = ()


class Series(Model):
    """A curve of a chart."""

    name: str
    """the container or the proxy"""
    points: tuple[tuple[float, float], ...]
    """seconds since the epoch, value"""


class Monitored(Model):
    """What the monitoring servers say."""

    alerts: tuple[Alert, ...]
    arrive: bool
    silences: tuple[Silence, ...]
    targets: tuple[Target, ...]
    charts: dict[str, tuple[Series, ...]] = Field(default_factory=dict)
    """by the names of `look.CHARTS`"""


class Answers(Model):
    """Of the public APIs."""

    reasons: dict[str, str]
    """endpoint: why it does not answer; empty: it does"""


class Certificates(Model):
    """Of CAs, in certificates.yml, and those that servers present."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]


class Backup(Model):
    """A backup in the region's target."""

    id: str
    started: datetime
    release: str
    kind: str
    base: str
    size: int
    """bytes"""
    seconds: float
    parts: tuple[str, ...]
    authentic: str
    verified: str = ""
    """when its database was last restored for a test; empty: unknown"""


class Backups(Model):
    """All backups."""

    target: str
    backups: tuple[Backup, ...]
    damaged: dict[str, str]
    unchecked: str
    """why no signature was checked"""
    volumes: dict[str, Any] | None = None
    """of users' volumes, as `scs backup list --json` has it"""


class Differences(Model):
    """Between NetBox and the inventory in use."""

    source: str
    diff: Diff
    problems: tuple[str, ...]


class Own(Model):
    """The page's certificate and its key. Passes a pipe between two processes, and nothing else."""

    leaf: Leaf


TYPES: dict[Kind, type[Model]] = {
    Kind.CONTAINERS: Containers, Kind.PLAN: Drift, Kind.MONITORING: Monitored, Kind.ANSWERS: Answers,
    Kind.CERTIFICATES: Certificates, Kind.BACKUPS: Backups, Kind.INVENTORY: Differences, Kind.LEAF: Own,
}  # fmt: skip
