# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: how a container shows that it works, takes new configuration, and makes room for another one."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from scs_deploy.base.model import Model


def _argv(value: Any) -> Any:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


Argv = Annotated[tuple[str, ...], BeforeValidator(_argv)]
"""A command: a string is split as a shell would, but no shell runs it. Each word may hold Jinja."""


class Health(Model):
    """How Docker and the rolling engine tell a container that works from one that only runs: one of the three."""

    http: str | None = Field(default=None, description="path that answers below 400 on the container's endpoint")
    tcp: int | None = Field(default=None, description="port that accepts a connection on the management address")
    command: Argv | None = Field(default=None, description="exits 0 inside the container")
    timeout: int = Field(default=300, description="seconds that a roll waits for it")

    @model_validator(mode="after")
    def _one(self) -> Health:
        if sum(x is not None for x in (self.http, self.tcp, self.command)) != 1:
            raise ValueError("give exactly one of http, tcp, command")
        return self


class Reload(Model):
    """How a container takes new configuration without a restart: one of the three."""

    signal: str | None = Field(default=None, description="sent to the container's main process, e.g. SIGUSR2")
    command: Argv | None = Field(default=None, description="run inside the container")
    itself: bool = Field(
        default=False, description="nothing is done: it reads these files anew when it needs them, or never"
    )
    only: Literal["leaf", "tls"] | None = Field(
        default=None,
        description="`leaf`: takes its host's new certificate and key only, `tls`: the CA's too; any other file "
        "restarts it; absent: takes every file",
    )

    @model_validator(mode="after")
    def _one(self) -> Reload:
        if sum((self.signal is not None, self.command is not None, self.itself)) != 1:
            raise ValueError("give exactly one of signal, command, itself")
        return self


class Roll(Model):
    """How a container makes room for the one that takes its place; commands run inside it, while it still works."""

    gate: Argv | None = Field(default=None, description="exits 0 when the others can do without this member now")
    leave: Argv | None = Field(
        default=None,
        description="run before it stops, once the load balancers send elsewhere: ends what is left, e.g. idle "
        "sessions, or hands over what it leads",
    )
    handover: bool = Field(
        default=False,
        description="the new container starts beside the old one, takes its sockets and has it finish: HAProxy",
    )
    stay: str | None = Field(
        default=None,
        description="file on the host: touched before the container is killed, not stopped, for a new one that goes on "
        "with what it leaves on the host, e.g. addresses",
    )
    timeout: int = Field(default=300, description="seconds that the gate is asked, and that a handover may take")


class Agent(Model):
    """A process that reports to an API; a rolling change waits until the API knows that it works again."""

    api: Literal["compute", "network"] = Field(description="which one")
    binary: str = Field(description="as the API calls it, e.g. nova-compute")
