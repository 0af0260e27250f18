# SPDX-License-Identifier: Apache-2.0
"""Scheduled backups: systemd units on the manager. Source: systemd.timer(5), systemd.service(5), systemd.exec(5)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from scs_deploy.base import calendar, systemd
from scs_deploy.environment.environment import Environment

INSTEAD = "scs backup create"


def name(environment: Environment) -> str:
    """The name of both units, without suffix."""
    return f"scs-backup-{environment.name}"


def units(environment: Environment, program: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The units, as file name: content.

    :param program: absolute path of scs
    """
    service = f"""\
# Written by `scs backup schedule --install`.
[Unit]
Description=Backup of the region {environment.name}
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=oneshot
{systemd.assignments(variables)}ExecStart={systemd.quoted(program)} backup create --environment {environment.name}
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


def check_calendar(environment: Environment) -> str:
    """When the timer would run next, according to systemd.

    :raises RefusedError: backup.schedule is not a calendar expression, or this manager has no systemd
    """
    what = f"{environment.file}: backup.schedule: "
    return systemd.next_elapse(environment.settings.backup.schedule, what, INSTEAD)


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
    return systemd.install(units(environment, systemd.program(), systemd.variables()), INSTEAD)


def remove(environment: Environment) -> list[Path]:
    """Stop the timer and remove the units, if there are any.

    :raises ScsError: systemctl failed
    """
    return systemd.remove(name(environment))
