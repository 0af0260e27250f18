#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exits 0 when this container's daemon does its work: a monitor in the quorum, an active manager or one that stands by,
an OSD that the cluster considers up.

Usage: ceph_health.py mon|mgr|osd
"""

from __future__ import annotations

import sys
from typing import Any

from ceph_settings import SERVES, Settings, load, osd_id
from ceph_socket import SilentError, ask


def of_monitor(status: Any) -> str:
    """What is wrong with a monitor by its `mon_status`; empty: nothing."""
    state = status.get("state", "unknown")
    return "" if state in SERVES else f"is {state}, not in the quorum {status.get('quorum', [])}"


def of_osd(status: Any) -> str:
    """What is wrong with an OSD by its `status`; empty: nothing."""
    state = status.get("state", "unknown")
    return "" if state == "active" else f"is {state}"


def of_manager(status: Any) -> str:  # noqa: ARG001 - as the others
    """A manager answers when it has the cluster's maps, whether it is active or stands by."""
    return ""


def check(kind: str, settings: Settings) -> str:
    """What is wrong with the daemon; empty: nothing."""
    if kind == "osd":
        number = osd_id()
        if number is None:
            return "this disk has no OSD yet"
        name, command, judge = f"osd.{number}", "status", of_osd
    elif kind == "mon":
        name, command, judge = f"mon.{settings.host}", "mon_status", of_monitor
    else:
        name, command, judge = f"mgr.{settings.host}", "version", of_manager
    try:
        problem = judge(ask(name, command))
    except SilentError as error:
        return str(error)
    return problem and f"{name} {problem}"


if __name__ == "__main__":
    if found := check(sys.argv[1], load()):
        sys.exit(found)
