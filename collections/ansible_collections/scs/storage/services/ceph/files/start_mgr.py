#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts this host's manager, after the monitors have its key."""

from __future__ import annotations

from pathlib import Path

from ceph_command import ask, patiently
from ceph_settings import CONF, DAEMON, MGR_DATA, Settings, become, load, mon_host

ADMIN, OWN = CONF / "ceph.client.admin.keyring", CONF / "mgr.keyring"


def register(settings: Settings, data: Path = MGR_DATA) -> Path:
    """Have the monitors accept this manager's key, if they do not have it; the keyring that it uses."""
    keyring = data / f"ceph-{settings.host}" / "keyring"
    wanted = OWN.read_text(encoding="utf-8")
    if not keyring.is_file() or keyring.read_text(encoding="utf-8") != wanted:
        patiently("register the manager", lambda: ask("client.admin", ADMIN, "auth", "import", "--in-file", str(OWN)))
        keyring.parent.mkdir(exist_ok=True)
        keyring.touch(mode=0o600)
        keyring.write_text(wanted, encoding="utf-8")
    return keyring


if __name__ == "__main__":
    found = load()
    register(found)
    become(
        "ceph-mgr", *DAEMON, "--mon-host", mon_host(found), "--foreground",
        "--id", found.host,
    )  # fmt: skip
