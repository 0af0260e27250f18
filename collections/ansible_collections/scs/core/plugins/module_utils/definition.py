# SPDX-License-Identifier: Apache-2.0
"""What a node is told of a container, and what to do with it: the part of its definition that modules use.

The names are those of the service spec. A key that has no field here is of no use to a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Health:
    """How it shows that it works."""

    command: list[str] = field(default_factory=list)
    """exits 0 inside the container when it works; empty: running is enough"""
    timeout: float = 60
    """seconds"""


@dataclass(frozen=True)
class Reload:
    """How it takes new configuration without a restart: one of the two."""

    signal: str = ""
    command: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Roll:
    """How it makes room for the one that takes its place."""

    gate: list[str] = field(default_factory=list)
    """exits 0 when the others can do without it"""
    leave: list[str] = field(default_factory=list)
    """ends what it still holds before it stops"""
    handover: bool = False
    """the new container takes the old one's sockets"""
    stay: str = ""
    """file that tells a new one to go on where this one was killed"""
    timeout: float = 300
    """seconds that the gate is asked, and that a handover may take"""


@dataclass(frozen=True)
class Action:
    """What to do with a container, and how the container shall be; one to remove has no definition."""

    action: str
    container: str
    wait: bool = True
    """false: something else waits, for more than its health or for several hosts at once"""
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
    """`address:port` of every server behind HAProxy's TCP endpoints, for one that hands over"""

    @classmethod
    def read(cls, given: dict[str, Any]) -> Action:
        """An action as a task gives it."""
        return _read(cls, given)


def _read(kind: type[T], given: Mapping[str, Any]) -> T:
    values = {}
    for item in fields(cast(Any, kind)):
        value, nested = given.get(item.name), item.default_factory
        if value is not None:
            # a nested dataclass is its own default
            values[item.name] = _read(nested, value) if isinstance(nested, type) and is_dataclass(nested) else value
    return kind(**values)
