#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Make the realm, zone group and zone of object storage, all named as the region, in the pools of the region.

Without them radosgw makes a zone `default` and twelve pools of its own. What exists stays as it is: a zone whose pools
differ is an error, because its objects would be lost.

Source: https://docs.ceph.com/en/latest/radosgw/multisite/ and .../radosgw/layout/
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHARED = {
    "domain_root": "root",
    "control_pool": "control",
    "gc_pool": "gc",
    "lc_pool": "lc",
    "log_pool": "log",
    "intent_log_pool": "intent",
    "usage_log_pool": "usage",
    "roles_pool": "roles",
    "reshard_pool": "reshard",
    "user_keys_pool": "users.keys",
    "user_email_pool": "users.email",
    "user_swift_pool": "users.swift",
    "user_uid_pool": "users.uid",
    "otp_pool": "otp",
    "notif_pool": "notif",
    "topics_pool": "topics",
    "account_pool": "accounts",
    "group_pool": "groups",
    "bucket_logging_pool": "logging",
    "restore_pool": "restore",
    "dedup_pool": "dedup",
}
"""What a zone keeps in the pool of metadata: each in a namespace of its own."""


class ZoneError(Exception):
    """What is wrong, for the operator."""


def wanted(zone: Mapping[str, Any], pools: Mapping[str, str]) -> dict[str, Any]:
    """A zone, as `radosgw-admin` shows it, with these pools; keys that this release does not know stay away."""
    shared = {k: f"{pools['metadata']}:{v}" for k, v in SHARED.items() if k in zone}
    placement = {
        "index_pool": pools["index"],
        "storage_classes": {"STANDARD": {"data_pool": pools["data"]}},
        # parts of uploads: keys and values, which an erasure coded pool cannot keep
        "data_extra_pool": f"{pools['index']}:extra",
        "index_type": 0,
        "inline_data": True,
    }
    return {**zone, **shared, "placement_pools": [{"key": "default-placement", "val": placement}]}


def strange(zone: Mapping[str, Any], pools: Mapping[str, str]) -> list[str]:
    """The keys of a zone that name a pool which is not the region's."""
    goal = wanted(zone, pools)
    shared = [k for k in zone if k.endswith("_pool") or k == "domain_root"]
    wrong = [k for k in shared if str(zone[k]).partition(":")[0] != pools["metadata"]]
    places = {p["key"]: p["val"] for p in zone["placement_pools"]}
    found, default = places.get("default-placement", {}), goal["placement_pools"][0]["val"]
    wrong += [k for k in ("index_pool", "data_extra_pool") if found.get(k) != default[k]]
    return wrong if data_pool(found) == data_pool(default) else [*wrong, "data_pool"]


def data_pool(placement: Mapping[str, Any]) -> object:
    """Where a placement keeps objects."""
    return placement.get("storage_classes", {}).get("STANDARD", {}).get("data_pool")


class Admin:
    """`radosgw-admin` for one zone."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.name: str = settings["name"]
        self.endpoint = f"--endpoints={settings['url']}"
        self._base = ["radosgw-admin", "-c", settings["configuration"], "-n", settings["client"]]

    def __call__(self, *words: str) -> Any:
        """What a command answers; None: there is no such thing.

        :raises ZoneError: it failed
        """
        command = [*self._base, *words, f"--rgw-realm={self.name}", f"--rgw-zonegroup={self.name}"]
        done = subprocess.run(
            [*command, f"--rgw-zone={self.name}"], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode == 2:
            return None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ZoneError(f"{' '.join(words)}: {said[-1] if said else f'exit code {done.returncode}'}")
        return json.loads(done.stdout) if done.stdout.strip() else {}


def make(admin: Admin, pools: Mapping[str, str]) -> bool:
    """Make what is missing; returns whether anything was.

    :raises ZoneError: a command failed, or the zone has other pools
    """
    name = admin.name
    if name not in admin("realm", "list")["realms"]:
        admin("realm", "create", "--default")
    if name not in admin("zonegroup", "list")["zonegroups"]:
        admin("zonegroup", "create", "--master", "--default", admin.endpoint)
    if name not in admin("zone", "list")["zones"]:
        admin("zone", "create", "--master", "--default", admin.endpoint)
    zone = admin("zone", "get")
    period = admin("period", "get") or {}
    in_use = zone["id"] in json.dumps(period.get("period_map", {}))
    wrong = strange(zone, pools)
    if wrong and in_use:
        raise ZoneError(f"zone {name} keeps {', '.join(wrong)} in other pools than the region's: its objects are there")
    if wrong:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(wanted(zone, pools), file)
            file.flush()
            admin("zone", "set", f"--infile={file.name}")
    if not in_use:
        admin("period", "update", "--commit")
    return not in_use


def main() -> int:
    """Entry point."""
    settings = json.loads(Path(__file__).with_name("zone.json").read_text(encoding="utf-8"))
    try:
        made = make(Admin(settings), settings["pools"])
    except ZoneError as error:
        print(f"zone.py: {error}", file=sys.stderr)
        return 1
    print(f"zone {settings['name']}: {'made' if made else 'is there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
