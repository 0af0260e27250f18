# SPDX-License-Identifier: Apache-2.0
"""Prints which numbers are on the volume of the fault tests' guest, as JSON: [[first, last], ...].

Runs in a container with librbd, past the guest and its caches: python3 -c PROGRAM '{"pool": ..., "image": ..., ...}'.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

STEP = 1024
"""Blocks that are read at once."""


def numbers(
    read: Callable[[int, int], bytes], token: str, block: int, first: int, spans: Iterable[tuple[int, int]]
) -> list[list[int]]:
    """Runs of numbers whose blocks hold what the guest writes.

    :param read: offset and length in bytes: what is there
    :param first: the block of number 0
    :param spans: first and last number to look for
    """
    runs: list[list[int]] = []
    for begin, end in spans:
        for low in range(begin, end + 1, STEP):
            count = min(STEP, end + 1 - low)
            data = read((first + low) * block, count * block)
            for index in range(count):
                number = low + index
                text = f"{token} {number}\n".encode()
                if data[index * block : (index + 1) * block].rstrip(b"\0") != text:
                    continue
                if runs and runs[-1][1] == number - 1:
                    runs[-1][1] = number
                else:
                    runs.append([number, number])
    return runs


def main(arguments: dict[str, Any]) -> None:
    """Open the image, read, print."""
    import rados
    import rbd

    with (
        rados.Rados(conffile="/etc/ceph/ceph.conf", rados_id=arguments["client"]) as cluster,
        cluster.open_ioctx(arguments["pool"]) as pool,
        rbd.Image(pool, arguments["image"], read_only=True) as image,
    ):
        found = numbers(image.read, arguments["token"], arguments["block"], arguments["first"], arguments["spans"])
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
