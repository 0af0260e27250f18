#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Before this manager stops: a standby becomes the active one, if this one is it. Nobody waits for it to be missed."""

from __future__ import annotations

import sys
import time
from typing import Any

from ceph_ask import AskError, Ceph
from ceph_settings import load

PATIENCE = 30


def leads(found: Any, host: str) -> bool:
    """Whether a host's manager is active although others stand by."""
    return bool(found["active_name"] == host and found["standbys"])


def main(host: str) -> None:
    """Hand over, and wait until it is done.

    :raises AskError: no quorum answers
    """
    with Ceph("client.admin") as ceph:
        if not leads(ceph.monitors("mgr dump"), host):
            return
        ceph.monitors("mgr fail", who=host)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = ceph.monitors("mgr dump")
            if found["available"] and found["active_name"] != host:
                return
            time.sleep(0.5)


if __name__ == "__main__":
    try:
        main(load().host)
    except AskError as error:
        sys.exit(str(error))
