# SPDX-License-Identifier: Apache-2.0
"""The part of a container's definition that modules on nodes use.

The names are those of the service spec. Keys without a field here are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Health:
    """The health check."""

    command: list[str] = field(default_factory=list)
    """exits 0 inside a healthy container; empty: running is enough"""
    timeout: float = 60
    """seconds"""


@dataclass(frozen=True)
class Reload:
    """How it loads a new configuration without a restart: with a signal or a command."""

    signal: str = ""
    command: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Roll:
    """How its successor takes over."""

    gate: list[str] = field(default_factory=list)
    """exits 0 if the cluster can lose it"""
    leave: list[str] = field(default_factory=list)
    """hands over its work before it stops"""
    handover: bool = False
    """the successor takes over its sockets"""
    stay: str = ""
    """file that tells the successor to continue where this one was killed"""
    timeout: float = 300
    """seconds to wait for the gate, and for a handover"""


@dataclass(frozen=True)
class Action:
    """An action on a container, and the container's definition, which a removal does not have."""

    action: str
    container: str
    wait: bool = True
    """false: the caller waits, for more than its health or for several hosts at once"""
    leave: bool = False
    """run `roll.leave` before it stops"""
    body: dict[str, Any] = field(default_factory=dict)
    """request of Docker's POST /containers/create"""
    volumes: dict[str, Any] = field(default_factory=dict)
    """named volume: uid, gid of a new one"""
    directories: dict[str, Any] = field(default_factory=dict)
    """host directory: uid, gid of a new one"""
    health: Health = field(default_factory=Health)
    reload: Reload = field(default_factory=Reload)
    roll: Roll = field(default_factory=Roll)
    members: list[list[str]] = field(default_factory=list)
    """backend and server of this container in HAProxy"""
    copies: list[str] = field(default_factory=list)
    """backends where a new member copies data before HAProxy uses it"""
    servers: list[str] = field(default_factory=list)
    """`address:port` of every server behind HAProxy's TCP endpoints; only with `roll.handover`"""

    @classmethod
    def read(cls, given: dict[str, Any]) -> Action:
        """Parse a task's action."""
        return _read(cls, given)


def _read(kind: type[T], given: Mapping[str, Any]) -> T:
    values = {}
    for item in fields(cast(Any, kind)):
        value, nested = given.get(item.name), item.default_factory
        if value is not None:
            # a nested dataclass is its own default
            values[item.name] = _read(nested, value) if isinstance(nested, type) and is_dataclass(nested) else value
    return kind(**values)
