#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Begins the region's cluster: the store of its first monitor, which the others join. Runs once in a region's life.

Does nothing where a store is, or where monitors of the cluster answer: whoever forgot that the cluster exists must not
begin another one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ceph_command import FailedError, run
from ceph_settings import MON_DATA, Settings, load, say
from start_mon import address, current_map, make, store

CIPHERS = ("aes", "aes256k")
"""Of keys: daemons have the second kind, which clients of Ceph 18.2 do not know yet."""


def exists(settings: Settings, data: Path = MON_DATA) -> bool:
    """Whether the cluster is there already."""
    if store(settings, data).is_dir():
        return True
    if settings.monitors.keys() == {settings.host}:
        return False
    try:
        current_map(settings, data / "monmap")
    except FailedError:
        return False
    return True


def first_map(settings: Settings, monmap: Path) -> None:
    """Write a map of this monitor only.

    :raises FailedError: the tool refuses
    """
    run(
        "monmaptool", "--create", "--clobber", "--fsid", settings.fsid, "--addv", settings.host, address(settings),
        "--auth-allowed-ciphers", ",".join(CIPHERS), "--auth-service-cipher", CIPHERS[-1],
        "--auth-preferred-cipher", CIPHERS[-1], str(monmap),
    )  # fmt: skip


def create(settings: Settings, data: Path = MON_DATA) -> bool:
    """Make the store of the first monitor; false: there is a cluster.

    :raises FailedError: a tool refuses
    """
    if exists(settings, data):
        return False
    monmap = data / "monmap"
    first_map(settings, monmap)
    make(settings, monmap, data)
    monmap.unlink()
    return True


if __name__ == "__main__":
    try:
        made = create(load())
    except FailedError as error:
        sys.exit(str(error))
    say("the cluster's first monitor has its store" if made else "the cluster exists already")
