# SPDX-License-Identifier: Apache-2.0
"""`cluster:` of a service spec: the driver of the cluster that the service's hosts form."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from scs_deploy.base.model import Written


class Cluster(Written):
    """A driver's name alone, or with settings."""

    driver: str = Field(description="its name, e.g. galera")
    settings: dict[str, Any] = Field(default_factory=dict, description="the driver's own")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {"driver": value} if isinstance(value, str) else value
