# SPDX-License-Identifier: Apache-2.0
"""Tells what Ceph holds of a volume, past the hypervisor: whether it begins with a LUKS header, and holds a word.

Runs in a container with librbd and Cinder's key: python3 -c PROGRAM POOL IMAGE WORD. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator

MAGIC = b"LUKS\xba\xbe"
"""https://gitlab.com/cryptsetup/cryptsetup/-/wikis/Specification: the first bytes of either version's header"""

CLIENT = "cinder"
PIECE = 4 << 20
"""Bytes that are read at once; a multiple of what a guest writes at once, so that no word is in two pieces."""


def pieces(extents: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Extents (offset and length in bytes), none longer than a piece and none across the border of two."""
    for offset, length in extents:
        end = offset + length
        while offset < end:
            size = min(PIECE - offset % PIECE, end - offset)
            yield offset, size
            offset += size


def look(read: Callable[[int, int], bytes], extents: Iterable[tuple[int, int]], word: bytes) -> dict[str, bool | int]:
    """What the extents hold.

    :param read: what is at an offset, of a length, in bytes
    """
    found, size = False, 0
    for offset, length in pieces(extents):
        found = word in read(offset, length) or found
        size += length
    return {"luks": read(0, len(MAGIC)) == MAGIC, "word": found, "bytes": size}


def main(pool: str, name: str, word: str) -> None:
    """Open the image, look, print."""
    import rados
    import rbd

    extents: list[tuple[int, int]] = []

    def note(offset: int, length: int, exists: bool) -> None:
        if exists:
            extents.append((offset, length))

    with (
        rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id=CLIENT) as cluster,
        cluster.open_ioctx(pool) as context,
        rbd.Image(context, name, read_only=True) as image,
    ):
        image.diff_iterate(0, image.size(), None, note)
        print(json.dumps(look(image.read, extents, word.encode())))


if __name__ == "__main__":
    main(*sys.argv[1:])
