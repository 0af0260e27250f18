# SPDX-License-Identifier: Apache-2.0
"""Scheduled backups: systemd units on the manager. Source: systemd.timer(5), systemd.service(5), systemd.exec(5)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from scs_deploy.base import calendar
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import vault

FOLDER = Path("/etc/systemd/system")

KEPT = ("SCS_ROOT", "SCS_ENVIRONMENTS", "DOCKER_HOST")
"""Environment variables of the installing command that the timer's runs need too."""


def name(environment: Environment) -> str:
    """The name of both units, without suffix."""
    return f"scs-backup-{environment.name}"


def units(environment: Environment, program: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The units, as file name: content.

    :param program: absolute path of scs
    """
    lines = "".join(f"Environment={_quoted(f'{k}={v}')}\n" for k, v in sorted(variables.items()))
    service = f"""\
# Written by `scs backup schedule --install`.
[Unit]
Description=Backup of the region {environment.name}
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=oneshot
{lines}ExecStart={program} backup create --environment {environment.name}
Nice=10
IOSchedulingClass=idle
"""
    timer = f"""\
# Written by `scs backup schedule --install`. When: backup.schedule in environment.yml.
[Unit]
Description=Backups of the region {environment.name}

[Timer]
OnCalendar={environment.settings.backup.schedule}
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{name(environment)}.service": service, f"{name(environment)}.timer": timer}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def program() -> str:
    """The path of scs.

    :raises ScsError: scs is not installed as a program
    """
    beside = Path(sys.executable).parent / "scs"
    found = str(beside) if beside.is_file() else shutil.which("scs")
    if not found:
        raise ScsError("the program scs is missing next to this Python", "make setup")
    return found


def variables() -> dict[str, str]:
    """Variables that a unit must set, because systemd starts it without this shell's environment."""
    return {k: os.environ[k] for k in KEPT if k in os.environ}


def check_calendar(environment: Environment) -> str:
    """When the timer would run next, according to systemd.

    :raises RefusedError: backup.schedule is not a calendar expression, or this manager has no systemd
    """
    expression = environment.settings.backup.schedule
    try:
        done = subprocess.run(["systemd-analyze", "calendar", expression], capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise RefusedError(
            "this manager has no systemd", "run `scs backup create` with another scheduler, e.g. cron"
        ) from None
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise RefusedError(f"{environment.file}: backup.schedule: '{expression}': {said}", "see systemd.time(7)")
    return next((w.strip() for line in done.stdout.splitlines() if (w := line.partition("Next elapse:")[2])), "")


def warning(environment: Environment) -> str:
    """Warns of a night without a backup because of a clock change; empty if every night has one."""
    found = calendar.skipped(environment.settings.backup.schedule, datetime.now(UTC))
    return f"{environment.file}: backup.schedule: {found}" if found else ""


def install(environment: Environment) -> list[Path]:
    """Write the units and start the timer.

    :raises RefusedError: systemd is not running, or the user is not root
    :raises ScsError: systemctl failed
    """
    check_calendar(environment)
    if not Path("/run/systemd/system").is_dir():
        raise RefusedError("systemd is not running", "run `scs backup create` with another scheduler, e.g. cron")
    written = []
    try:
        for file, text in units(environment, program(), variables()).items():
            vault.write(FOLDER / file, text, 0o644)
            written.append(FOLDER / file)
    except OSError as error:
        raise RefusedError(f"{FOLDER}: {error.strerror}", "run as root") from None
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", f"{name(environment)}.timer")
    return written


def remove(environment: Environment) -> list[Path]:
    """Stop the timer and remove the units, if there are any.

    :raises ScsError: systemctl failed
    """
    files = [f for f in (FOLDER / f"{name(environment)}{s}" for s in (".timer", ".service")) if f.exists()]
    if files:
        _systemctl("disable", "--now", f"{name(environment)}.timer")
        for file in files:
            file.unlink()
        _systemctl("daemon-reload")
    return files


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ScsError(f"systemctl {' '.join(arguments)}: {' '.join(done.stderr.split())}")
