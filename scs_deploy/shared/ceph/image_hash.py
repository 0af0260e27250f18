#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads an image of Glance out of Ceph, in a container of Glance, and prints its size and digest as JSON.

The manager sends this program along with each use, as with ask.py. It reads the snapshot that guests and volumes are
cloned from, past Glance.

Usage: image_hash.py IMAGE ALGORITHM
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

CONF, USER, POOL, SNAPSHOT = "/etc/ceph/ceph.conf", "glance", "images", "snap"
"""As in glance-api.conf; the snapshot is what Glance's driver calls it."""

CHUNK = 4 << 20


def digest(image: Any, algorithm: str) -> dict[str, Any]:
    """Size and digest of an open image."""
    size: int = image.size()
    found = hashlib.new(algorithm, usedforsecurity=False)
    for offset in range(0, size, CHUNK):
        found.update(image.read(offset, min(CHUNK, size - offset)))
    return {"size": size, "digest": found.hexdigest()}


def main(name: str, algorithm: str) -> None:
    """Connect, read, print."""
    import rados
    import rbd

    try:
        with (
            rados.Rados(conffile=CONF, rados_id=USER) as cluster,
            cluster.open_ioctx(POOL) as pool,
            rbd.Image(pool, name, snapshot=SNAPSHOT, read_only=True) as image,
        ):
            print(json.dumps(digest(image, algorithm)))
    except (rados.Error, rbd.Error) as error:
        sys.exit(f"image {name} cannot be read from Ceph: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
