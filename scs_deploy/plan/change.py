# SPDX-License-Identifier: Apache-2.0
"""A change: one difference between desired and observed, with what it does and what it touches."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.spec.service import Impact, Phase


class Kind(StrEnum):
    """What is done about a difference."""

    PULL = "pull"
    FILE = "file"
    CREATE = "create"
    REPLACE = "replace"
    RESTART = "restart"
    RELOAD = "reload"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"
    UNDRAIN = "undrain"
    JOB = "job"
    RECORD = "record"
    DATABASE = "database"
    ACCOUNT = "account"
    CATALOGUE = "catalogue"


class Change(Model):
    """One difference. Its text never holds a secret."""

    kind: Kind
    service: str
    host: str = Field(description="where it happens; the controller's changes name 'region'")
    subject: str = Field(description="container, file, job, schema, user or endpoint")
    reason: str = Field(description="why, e.g. `keystone.conf: [token] expiration 3600 -> 7200`")
    phase: Phase
    impact: Impact
    witnesses: tuple[str, ...] = Field(default=(), description="other hosts of the cluster: record a job's success")


REGION = "region"
"""`Change.host` of what is changed once per region, from the controller."""
