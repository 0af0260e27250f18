# SPDX-License-Identifier: Apache-2.0
"""What the programs beside this file work with: the rendered settings.json, and where the daemons keep their data."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

CONF = Path("/etc/ceph")
DAEMON = ("--cluster", "ceph", "--conf", str(CONF / "daemon.conf"))
"""Of a daemon's command line; without its name, the cluster would be called like the file."""
MON_DATA, MGR_DATA, OSD_DATA = (Path("/var/lib/ceph") / kind for kind in ("mon", "mgr", "osd"))

SERVES = ("leader", "peon")
"""States of a monitor that belongs to a quorum."""


class Disk(NamedTuple):
    """The disk of an OSD's container."""

    name: str
    path: str
    device_class: str
    file_bytes: int
    """size of the file that is the disk; 0: it is a device"""
    db: str
    wal: str
    """paths of the devices for metadata and the log; empty: none"""


class Settings(NamedTuple):
    """settings.json."""

    fsid: str
    host: str
    address: str
    monitors: dict[str, str]
    """host: management address"""
    disk: Disk | None = None


def load(path: Path | None = None) -> Settings:
    """The settings of this container."""
    text = (path or Path(__file__).with_name("settings.json")).read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    disk = data.pop("disk", None)
    return Settings(**data, disk=Disk(**disk) if disk else None)


def osd_id(data: Path = OSD_DATA) -> int | None:
    """The number of the OSD in this container; None: it has none yet."""
    found = [p for p in data.glob("ceph-*") if p.name[5:].isdigit()]
    return int(found[0].name[5:]) if found else None


def say(text: str) -> None:
    """A line in the container's log."""
    print(text, file=sys.stderr, flush=True)


def become(*command: str) -> None:
    """Replace this program by the daemon."""
    say(f"start: {' '.join(command)}")
    os.execvp(command[0], command)


def mon_host(settings: Settings) -> str:
    """The monitors' addresses as ceph.conf has them: the encrypted protocol only."""
    return ",".join(f"[v2:{address}:3300]" for address in settings.monitors.values())
