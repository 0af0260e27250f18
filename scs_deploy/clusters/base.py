# SPDX-License-Identifier: Apache-2.0
"""What recoveries of all services share: a table of members, and the steps that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model

if TYPE_CHECKING:
    from scs_deploy.engine.remote import Answer
    from scs_deploy.operations.recover.session import Session


class Running(StrEnum):
    """What a member's container does."""

    RUNNING = "running"
    RESTARTING = "restarting"
    """it ends, and the engine starts it again"""
    STOPPED = "stopped"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"
    """the host, or its engine, does not answer"""


class Step(Model):
    """One action on one or several hosts at the same time."""

    action: str
    """a procedure's own word"""
    hosts: tuple[str, ...]
    what: str
    """for people"""
    container: str = ""
    target: str = ""
    """what the action is about, e.g. a raft server's id"""
    create: bool = False
    """the container is to be created, not started"""


class Recovery(Model):
    """What was found, and what follows from it."""

    members: tuple[dict[str, str], ...]
    """the table: a row for each member, the same columns in each"""
    steps: tuple[Step, ...] = ()
    """empty: nothing to recover"""
    summary: str
    warnings: tuple[str, ...] = ()
    partial: bool = False
    """more steps follow, which depend on what is read after these"""


class Procedure(Protocol):
    """How one service's cluster is recovered."""

    service: str

    def read(self, session: Session) -> Any:
        """Ask all members; changes nothing."""

    def settling(self, members: Any) -> str:
        """Who may be about to work without help, e.g. is starting; '' when a decision can be made."""

    def decide(self, members: Any) -> Recovery:
        """Pure.

        :raises RefusedError: what is right cannot be known, or is the operator's to say
        """

    def act(self, session: Session, step: Step) -> None:
        """Carry out a step.

        :raises ScsError: it failed
        """

    def put_back(self, session: Session) -> None:
        """Undo a partial recovery that was not gone on with."""


def running(answer: Answer) -> Running:
    """What the engine's answer to a command in a container says about the container.

    Source: Docker Engine API, POST /containers/{id}/exec: 404 no such container, 409 not running or restarting.
    """
    if answer.code >= 0:
        return Running.RUNNING
    for part, state in (
        ("No such container", Running.ABSENT),
        ("is restarting", Running.RESTARTING),
        ("is not running", Running.STOPPED),
        ("is paused", Running.STOPPED),
        ("from the Docker engine", Running.UNREACHABLE),
    ):
        if part in answer.output:
            return state
    return Running.RUNNING


def known(service: str, hosts: Collection[str], named: Iterable[str]) -> None:
    """Names that an operator spelled out must be members.

    :raises RefusedError: one is not
    """
    for name in named:
        if name not in hosts:
            raise RefusedError(f"{service} has no member on '{name}'", f"it runs on: {', '.join(sorted(hosts))}")


def names(hosts: Iterable[str]) -> str:
    """`a, b and c`."""
    ordered = sorted(hosts)
    return " and ".join([", ".join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)
