#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what the monitors know and what a backup holds of it, as JSON. It has keys: it goes to the backup only.

OSDs know the map of OSDs (pools, CRUSH, ratios) and their own keys, and `scs recover ceph --from-osds` makes a store of
that. Only monitors know the rest: keys of clients, the configuration database, config-keys, modules that are on, file
systems. `load_mon.py` adds that part to a cluster that lacks it. The maps are for people: nothing loads them.

Source: https://docs.ceph.com/en/tentacle/rados/troubleshooting/troubleshooting-mon/ (known limitations of a recovery
using OSDs).
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from ceph_ask import AskError, Ceph

FORMAT = 1
"""Incremented if an older load_mon.py could misread it."""

HISTORY = ("config/", "config-history/")
"""Config-keys that are the configuration database, which `config dump` has."""

BINARY = "<<< binary blob of length "
"""What stands for a value that is no text."""


def export(ceph: Ceph) -> dict[str, Any]:
    """Everything. Each answer is of one moment. The map of OSDs is the first: who is in it has its key already."""
    osds = ceph.monitors("osd dump")
    monitors = ceph.monitors("mon dump")
    return {
        "format": FORMAT,
        "fsid": osds["fsid"],
        "created": monitors["created"],
        "osd_epoch": osds["epoch"],
        "pools": {str(p["pool"]): p["pool_name"] for p in osds["pools"]},
        "osds": {str(o["osd"]): o["uuid"] for o in osds["osds"]},
        "noout": sorted(h for h, flags in osds["crush_node_flags"].items() if "noout" in flags),
        "auth": {e["entity"]: {"key": e["key"], "caps": e["caps"]} for e in ceph.monitors("auth ls")["auth_dump"]},
        "config": _config(ceph.monitors("config dump")),
        "keys": _keys(ceph),
        "modules": sorted(ceph.monitors("mgr module ls")["enabled_modules"]),
        "file_systems": ceph.monitors("fs dump")["filesystems"],
        "osdmap": _text(ceph.raw("osd getmap", epoch=osds["epoch"])),
        "monmap": _text(ceph.raw("mon getmap")),
    }


def _config(dump: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Options by whom they are for, as `config set` takes it: a daemon or a kind of them, e.g. `osd/class:ssd`."""
    found: dict[str, dict[str, str]] = {}
    for option in dump:
        who = f"{option['section']}/{option['mask']}" if option["mask"] else option["section"]
        found.setdefault(who, {})[option["name"]] = option["value"]
    return found


def _keys(ceph: Ceph) -> dict[str, str]:
    """Config-keys: their values in base64, which may be of any bytes."""
    found = {}
    for key, value in ceph.monitors("config-key dump").items():
        if not key.startswith(HISTORY):
            found[key] = _text(ceph.raw("config-key get", key=key) if value.startswith(BINARY) else value.encode())
    return found


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


if __name__ == "__main__":
    try:
        with Ceph("client.admin") as connection:
            json.dump(export(connection), sys.stdout)
    except AskError as error:
        sys.exit(str(error))
