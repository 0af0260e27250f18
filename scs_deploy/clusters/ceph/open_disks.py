#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints who has images of RBD open, as JSON: image: addresses. In a monitor's container.

The manager sends this program along, so that it fits the manager's version. One connection for all images: each call of
`rbd` would take half a second. Who opens an image only to read does not watch it; a guest does, until half a minute
after its death.

Usage: open_disks.py POOL/IMAGE ...

Source: librbd (Python), https://docs.ceph.com/en/tentacle/rbd/api/librbdpy/
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

CONF = "/etc/ceph/ceph.conf"
ADMIN = "client.admin"
TIMEOUT = "15"
"""Seconds for the monitors, and for the OSDs of an image."""


def watchers(cluster: Any, image: Any, names: Iterable[str], missing: tuple[Any, ...]) -> dict[str, list[str]]:
    """Addresses of those who have each of these images open; without images that are not there.

    :param image: opens one
    :param missing: what is raised for an image or a pool that is not there
    """
    found = {}
    for name in names:
        pool, _, own = name.partition("/")
        try:
            with cluster.open_ioctx(pool) as place, image(place, own, read_only=True) as opened:
                clients = [w["addr"].rpartition(":")[0].strip("[]") for w in opened.watchers_list()]
        except missing:
            continue
        if clients:
            found[name] = sorted(set(clients))
    return found


def main(names: Iterable[str]) -> None:
    """Connect, ask, print."""
    import rados
    import rbd

    own = {"client_mount_timeout": TIMEOUT, "rados_osd_op_timeout": TIMEOUT, "log_to_stderr": "false"}
    try:
        with rados.Rados(conffile=CONF, name=ADMIN, conf=own) as cluster:
            print(json.dumps(watchers(cluster, rbd.Image, names, (rbd.ImageNotFound, rados.ObjectNotFound))))
    except (rados.Error, rbd.Error) as error:
        sys.exit(f"the cluster does not answer: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
