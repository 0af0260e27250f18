# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: one-shot commands, and the phases in which they and everything else happen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from scs_deploy.base.model import Written
from scs_deploy.base.words import Words
from scs_deploy.spec.container import Argv


class Phase(Words):
    """What happens to a service, in this order."""

    PULL = "pull", "images are fetched by digest, on all hosts, before anything stops"
    CONFIG = "config", "files are written"
    DATABASE = "database", "schemas, accounts of database, message broker and Keystone"
    MIGRATE = "migrate", "jobs before the service runs, such as schema migrations"
    ROLL = "roll", "containers are created, replaced, restarted or reloaded"
    REGISTER = "register", "catalogue entries, and jobs that need the running service"
    FINISH = "finish", "jobs after the service runs, such as contracting a schema"
    VERIFY = "verify", "jobs that prove the service"


class Schema(Words):
    """What a job does to a database's schema."""

    EXPAND = "expand", "adds to it only: earlier images work with it, and with what later ones write"
    CONTRACT = "contract", "earlier images may not work with it, or with what later ones write, any more"


class Job(Written):
    """A one-shot command. It runs again when its image or command changes, or a database of the service is new."""

    container: str = Field(description="whose image, files, mounts and user the job takes")
    command: Argv = Field(default=(), description="exits 0 when its work is done")
    restart: tuple[str, ...] = Field(
        default=(),
        description="instead of a command, once per release: these containers start anew, because each keeps what it "
        "learned of the others' versions when it started; in a new region there is nothing to forget",
    )
    phase: Phase = Field(default=Phase.MIGRATE, description="migrate, register, finish or verify")
    each: Literal["cluster", "host"] = Field(default="cluster", description="once per cluster or on every host")
    everywhere: bool = Field(
        default=False,
        description="waits until every container of the service, on every host, has its new image: also those that "
        "are held back or left out of a run",
    )
    preflight: bool | Literal["status"] = Field(
        default=False,
        description="asks whether the region is ready: runs with the new release's image, and the present files, "
        "before an upgrade to it changes anything; `status`: its command is `<service>-status upgrade check`",
    )
    schema_change: Schema | None = Field(
        default=None, description="what it does to a database's schema; absent: nothing"
    )
    once: bool = Field(
        default=False, description="creates the cluster: never again once any host has recorded a success"
    )
    user: str | None = Field(default=None, description="default: the container's")
    timeout: int = Field(default=900, description="seconds")

    @field_validator("phase")
    @classmethod
    def _phase(cls, value: Phase) -> Phase:
        if value not in (Phase.MIGRATE, Phase.REGISTER, Phase.FINISH, Phase.VERIFY):
            raise ValueError("a job runs in phase migrate, register, finish or verify")
        return value

    @model_validator(mode="after")
    def _work(self) -> Job:
        if sum((bool(self.command), bool(self.restart), self.preflight == "status")) != 1:
            raise ValueError("give exactly one of command, restart, preflight: status")
        if self.restart and (self.phase is not Phase.FINISH or self.each != "cluster" or self.preflight):
            raise ValueError("restart: goes with phase finish, each cluster, and no preflight")
        return self
