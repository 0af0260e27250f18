# SPDX-License-Identifier: Apache-2.0
"""The manager's part of a change that may cut a host off: confirm it over a new connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError

SHORTEST, LONGEST = 5, 900
"""Limits for the seconds that a host waits for the confirmation. A new connection takes some seconds."""
SETTLE = 30
"""Seconds that a host needs for its part; `module_utils/trial.py` has the same value."""

OnNode = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Runs the module on the host. Raises UnreachedError if the host does not respond, ScsError if the module failed."""


class UnreachedError(ScsError):
    """The host does not respond, perhaps only temporarily."""


def check_seconds(variable: str, seconds: int) -> None:
    """:raises RefusedError: a host cannot wait that long, or for so short a time"""
    if not SHORTEST <= seconds <= LONGEST:
        raise RefusedError(f"{variable}: {seconds} is outside {SHORTEST} to {LONGEST}")


def confirm(
    token: str, seconds: int, first: str, on_node: OnNode, reconnect: Callable[[], None], *, what: str, remedy: str
) -> dict[str, Any]:
    """Wait over new connections until the host has confirmed the change or taken it back. Returns its status.

    :param first: the connection that started the change, as sshd names it, which proves nothing about new ones; empty:
        unknown
    :param reconnect: closes the connection, so that the next call of `on_node` opens a new one
    :param what: what changes, e.g. network
    :param remedy: what to do if the host refuses
    :raises RefusedError: the change does not fit the host, which changed nothing
    :raises ScsError: the host took the change back, or is unreachable
    """
    # the new state settles, the host waits, goes back, and the old state settles
    end = time.monotonic() + seconds + 3 * SETTLE
    step, last = "status", ""
    while time.monotonic() < end:
        reconnect()
        try:
            status: dict[str, Any] = on_node({"step": step, "token": token, "not_over": first})["status"]
        except UnreachedError as error:
            last = str(error)
            time.sleep(1)
            continue
        problems = "; ".join(status["problems"])
        if status["state"] == "refused":
            raise RefusedError(problems, remedy)
        if status["state"] == "rolled back":
            raise ScsError(f"the host rolled back to its old {what}: {problems}")
        if status["state"] == "confirmed":
            return status
        # only a connection opened after the change took effect proves that it lets the manager in
        step = "confirm" if status["state"] == "ready" else "status"
        if step == "status":
            time.sleep(0.5)
    raise ScsError(f"unreachable since its {what} changed: {last}", "use its console")
