# SPDX-License-Identifier: Apache-2.0
"""Unattended upgrades: when they may start, and the systemd units that start them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from scs_deploy.base import calendar, paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import OPEN
from scs_deploy.state.runs import Run

UNITS = Path("/etc/systemd/system")
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


def units(environment: str, expression: str, scs: str, variables: dict[str, str]) -> dict[str, str]:
    """Text of the systemd units, by file name.

    :param expression: systemd.time(7), e.g. `*-*-* 05:00`
    :param scs: path of the command
    """
    name = unit(environment)
    settings = "".join(f'Environment="{k}={v}"\n' for k, v in sorted(variables.items()))
    service = (
        f"[Unit]\nDescription=Upgrade of region {environment}\n"
        "Wants=network-online.target\nAfter=network-online.target docker.service\n\n"
        # SIGINT lets a run finish its current tasks when the unit is stopped
        f"[Service]\nType=oneshot\n{settings}"
        f"ExecStart={scs} upgrade run --unattended --images --environment {shlex.quote(environment)}\n"
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


def schedule(environment: Environment, expression: str, folder: Path = UNITS) -> list[Path]:
    """Write and start the timer.

    :raises RefusedError: systemd is missing, the calendar expression is invalid, or the user is not root
    :raises ScsError: systemd rejects the units
    """
    if not shutil.which("systemctl") or not shutil.which("systemd-analyze"):
        raise RefusedError(
            "this manager has no systemd", "run `scs upgrade run --unattended --images` with another scheduler"
        )
    if subprocess.run(["systemd-analyze", "calendar", expression], capture_output=True, check=False).returncode:
        raise RefusedError(
            f"'{expression}' is not a valid systemd calendar expression", 'see systemd.time(7), e.g. "*-*-* 05:00"'
        )
    if not os.access(folder, os.W_OK):
        raise RefusedError(f"{folder}: not writable", "run this as root")
    scs = Path(sys.executable).parent / "scs"
    variables = {"SCS_ROOT": str(paths.root()), "SCS_ENVIRONMENTS": str(paths.environments().resolve())}
    written = []
    for name, text in units(environment.name, expression, str(scs), variables).items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", f"{unit(environment.name)}.timer")
    return written


def warning(expression: str) -> str:
    """Which night has no upgrade because of a clock change; empty: every night has one."""
    return calendar.skipped(expression, datetime.now(UTC))


def unschedule(environment: Environment, folder: Path = UNITS) -> bool:
    """Stop and remove the timer; false: there was none.

    :raises ScsError: systemctl failed
    """
    name = unit(environment.name)
    if not (folder / f"{name}.timer").exists():
        return False
    _systemctl("disable", "--now", f"{name}.timer")
    for suffix in ("timer", "service"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    _systemctl("daemon-reload")
    return True


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScsError(f"systemctl {shlex.join(words)}: {' '.join(done.stderr.split())[:300]}")
