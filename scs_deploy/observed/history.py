# SPDX-License-Identifier: Apache-2.0
"""What happened to one container on one host: its health checks, and its last exits with their causes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from scs_deploy.base.model import Model
from scs_deploy.base.words import Words

SAME = 2.0
"""Seconds by which two sources may differ about the time of one exit, and two clocks."""

KILL, TERM = 9, 15
BY_SIGNAL = 128
"""An exit code above is this plus the signal that ended the process."""


class Cause(Words):
    """Who ended a container."""

    SCS = "scs", "a run of scs, or one of its modules"
    ENGINE = "engine", "somebody who used the container engine on the host, e.g. `docker kill`"
    MEMORY = "memory", "the kernel, because memory ran out"
    ITSELF = "itself", "the program ended, or crashed"
    UNKNOWN = "unknown", "e.g. `kill` on the host, or a restart of the host or its engine"


class Exit(Model):
    """An exit of a container."""

    time: datetime
    code: int | None = Field(description="exit code; null: unknown")
    signal: int = Field(default=0, description="that was sent to it, or that its code tells of; 0: none")
    oom: bool = False
    cause: Cause
    run: str = Field(
        default="", description="id of the run of scs that did it; empty: none, or that of another manager"
    )
    restarted: bool = Field(default=False, description="the host's keeper started it again")


class HealthCheck(Model):
    """A result of the health check."""

    time: datetime
    code: int
    output: str


class History(Model):
    """A container on a host."""

    host: str
    container: str
    state: str = Field(description="as Docker calls it; `missing` without a container")
    image: str = ""
    since: datetime | None = Field(default=None, description="of its state")
    health: str = ""
    restarts: int = Field(default=0, description="by the engine's restart policy, since it was last started otherwise")
    error: str = Field(default="", description="why the engine could not start it")
    checks: tuple[HealthCheck, ...] = ()
    exits: tuple[Exit, ...] = Field(default=(), description="latest first")


class Period(Model):
    """A step of a run of scs on a host."""

    run: str
    begin: datetime
    end: datetime


class Answer(BaseModel):
    """What the host says (container_state.py)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: dict[str, Any] | None
    events: tuple[dict[str, Any], ...] = ()
    exits: tuple[dict[str, Any], ...] = ()


def history(host: str, container: str, answer: Answer, periods: Sequence[Period] = ()) -> History:
    """What a host says of a container.

    :param periods: when runs of scs were at work on this host
    """
    exits = tuple(sorted(_exits(answer, periods), key=lambda e: e.time, reverse=True))
    state = answer.state
    if state is None:
        return History(host=host, container=container, state="missing", exits=exits)
    health = state.get("Health") or {}
    running = state["Status"] == "running"
    return History(
        host=host,
        container=container,
        state=state["Status"],
        image=state["image"],
        since=_time(state["StartedAt"] if running else state["FinishedAt"]),
        health=health.get("Status") or "",
        restarts=state["restarts"],
        error=state["Error"] or "",
        checks=tuple(_check(found) for found in health.get("Log") or ()),
        exits=exits,
    )


def _exits(answer: Answer, periods: Sequence[Period]) -> Iterable[Exit]:
    """The keeper's record, then what only the engine knows: of a time without keeper, and of its last restart."""
    known = [_exit(found, periods) for found in answer.exits]
    for found in (*_of_events(answer.events), *_of_state(answer.state)):
        if not any(abs(found.time.timestamp() - e.time.timestamp()) <= SAME for e in known):
            known.append(found)
    return known


def _exit(found: dict[str, Any], periods: Sequence[Period]) -> Exit:
    time = datetime.fromtimestamp(found["time"], UTC)
    by_scs = bool(found["scs"])
    return Exit(
        time=time,
        code=found["code"],
        signal=found["signal"] or _signal(found["code"]),
        oom=found["oom"],
        cause=Cause.SCS if by_scs else _cause(found["code"], found["signal"], found["oom"]),
        run=_run(time, periods) if by_scs else "",
        restarted=found["restarted"],
    )


def _of_events(events: Sequence[dict[str, Any]]) -> Iterable[Exit]:
    for event in events:
        if event["action"] != "die":
            continue
        before = [e for e in events if e["id"] == event["id"] and event["time"] - 60 <= e["time"] <= event["time"]]
        sent = [e["signal"] for e in before if e["action"] == "kill"]
        oom = any(e["action"] == "oom" for e in before)
        cause = _cause(event["code"], sent[-1] if sent else 0, oom)
        yield Exit(
            time=datetime.fromtimestamp(event["time"], UTC),
            code=event["code"],
            signal=sent[-1] if sent else _signal(event["code"]),
            oom=oom,
            # a run of scs uses the engine, too
            cause=Cause.UNKNOWN if cause is Cause.ENGINE else cause,
        )


def _of_state(state: dict[str, Any] | None) -> Iterable[Exit]:
    """The exit that the inspect remembers: once the container runs again, its time only."""
    time = _time(state["FinishedAt"]) if state else None
    if state is None or time is None:
        return
    code = None if state["Status"] == "running" else state["ExitCode"] or 0
    oom = bool(state["OOMKilled"])
    yield Exit(
        time=time, code=code, signal=_signal(code or 0), oom=oom, cause=Cause.MEMORY if oom else Cause.UNKNOWN
    )  # fmt: skip


def _cause(code: int, signal: int, oom: bool) -> Cause:
    if oom:
        return Cause.MEMORY
    if signal:
        return Cause.ENGINE
    # a signal that nobody sent through the engine: these two come from outside, others from the program's own fault
    return Cause.UNKNOWN if code in (BY_SIGNAL + KILL, BY_SIGNAL + TERM) else Cause.ITSELF


def _signal(code: int) -> int:
    return code - BY_SIGNAL if code > BY_SIGNAL and code - BY_SIGNAL < 65 else 0


def _run(time: datetime, periods: Sequence[Period]) -> str:
    at = time.timestamp()
    fitting = [p for p in periods if p.begin.timestamp() - SAME <= at <= p.end.timestamp() + SAME]
    return fitting[-1].run if fitting else ""


def _check(found: dict[str, Any]) -> HealthCheck:
    time = _time(found["End"]) or datetime.fromtimestamp(0, UTC)
    return HealthCheck(time=time, code=found["ExitCode"], output=" ".join(str(found["Output"]).split()))


def _time(text: str | None) -> datetime | None:
    """Docker's RFC 3339 time; None for none."""
    return None if not text or text.startswith("0001") else datetime.fromisoformat(text).astimezone(UTC)
