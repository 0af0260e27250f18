# SPDX-License-Identifier: Apache-2.0
"""Unattended upgrades: when they may start, and the systemd units that start them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from scs_deploy.base import calendar, paths, systemd
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import OPEN
from scs_deploy.state.runs import Run

INSTEAD = "scs upgrade run --unattended --images"
FAILED_AT_NIGHT = 10
"""Default number of prober requests that may fail before an unattended upgrade pauses."""


def check_unattended(latest: Run | None) -> None:
    """Check that an unattended upgrade may start: an operator must decide what to do about an unfinished run.

    :raises RefusedError: the latest run is unfinished
    """
    if latest and latest.status in OPEN:
        again = f"scs runs resume {latest.id}" if latest.resume else f"`{latest.command}` again"
        again += f", scs rollback {latest.id}" if latest.follows else ""
        raise RefusedError(
            f"run {latest.id} is {latest.status}: {latest.message or 'its process ended'}",
            f"{again} or scs runs abandon {latest.id}; then upgrade",
        )


def units(environment: str, expression: str, program: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Text of the systemd units, by file name.

    :param expression: systemd.time(7), e.g. `*-*-* 05:00`
    :param program: absolute path of scs
    """
    name = unit(environment)
    service = (
        f"[Unit]\nDescription=Upgrade of region {environment}\n"
        "Wants=network-online.target\nAfter=network-online.target docker.service\n\n"
        # SIGINT lets a run finish its current tasks when the unit is stopped
        f"[Service]\nType=oneshot\n{systemd.assignments(variables)}"
        f"ExecStart={systemd.quoted(program)} upgrade run --unattended --images --environment {environment}\n"
        "TimeoutStartSec=infinity\nKillMode=mixed\nKillSignal=SIGINT\nTimeoutStopSec=300\n"
    )
    timer = (
        f"[Unit]\nDescription=Upgrade of region {environment} at {expression}\n\n"
        # not Persistent: a missed night is not made up for during the day
        f"[Timer]\nOnCalendar={expression}\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def unit(environment: str) -> str:
    """Name of the units, without suffix."""
    return f"scs-upgrade-{environment}"


def schedule(environment: Environment, expression: str) -> list[Path]:
    """Write and start the timer.

    :raises RefusedError: systemd is missing, the calendar expression is invalid, or the user is not root
    :raises ScsError: systemd rejects the units
    """
    systemd.next_elapse(expression, "", INSTEAD)
    variables = systemd.variables() | {
        "SCS_ROOT": str(paths.root()), "SCS_ENVIRONMENTS": str(paths.environments().resolve()),
    }  # fmt: skip
    return systemd.install(units(environment.name, expression, systemd.program(), variables), INSTEAD)


def warning(expression: str) -> str:
    """Which night has no upgrade because of a clock change; empty: every night has one."""
    return calendar.skipped(expression, datetime.now(UTC))


def unschedule(environment: Environment) -> bool:
    """Stop and remove the timer; false: there was none.

    :raises ScsError: systemctl failed
    """
    return bool(systemd.remove(unit(environment.name)))
