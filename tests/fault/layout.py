# SPDX-License-Identifier: Apache-2.0
"""Where the fault tests' guest writes its numbers on a volume, and what its console says of them. Pure.

The volume begins with the image that the guest boots from. Behind it lie blocks, one for each number; block 0 counts
the guest's boots, and every boot has an area of its own, so that no other block is written twice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from scs_deploy.state.measurement import Sample
from scs_deploy.validate.guest_image import MARKER

DISK = "/dev/vda"
SIZE = 4
"""GiB of the volume; what is not written takes no room."""
BLOCK = 4096
FIRST = (64 << 20) // BLOCK
"""The block that counts boots: behind the image's only partition."""
AREA = 65536
"""Numbers of one boot: at two a second, nine hours."""
BOOTS = ((SIZE << 30) // BLOCK - FIRST) // AREA - 1
PAUSE = 0.5
"""Seconds between two writes: the guest is emulated, on the processors of the region."""
KIND = "guest write"

LINE = re.compile(rf"{re.escape(MARKER)} (wrote|failed) (\d+) (\d+\.\d+) (\d+\.\d+)\s*$")


class Write(NamedTuple):
    """A write that the guest told of."""

    number: int
    begin: float
    end: float
    """seconds of the guest's uptime"""
    good: bool
    """the storage acknowledged it"""
    seen: float
    """when it was read on the console, seconds of the manager's clock"""

    @property
    def boot(self) -> int:
        """Which boot of the guest wrote it."""
        return self.number // AREA


def user_data(script: str, token: str) -> str:
    """The guest's program for a volume.

    :param token: marks the blocks as this guest's
    """
    values = {
        "DISK": DISK, "TOKEN": token, "BLOCK": BLOCK, "FIRST": FIRST, "AREA": AREA, "BOOTS": BOOTS,
        "PAUSE": round(PAUSE * 1_000_000),
    }  # fmt: skip
    for name, value in values.items():
        script = script.replace(f"={name}", f"={value}")
    return script


def parse(line: str, seen: float) -> Write | None:
    """A line of the console; None: it tells of no write."""
    found = LINE.search(line)
    if not found:
        return None
    word, number, begin, end = found.groups()
    return Write(int(number), float(begin), float(end), word == "wrote", seen)


def samples(writes: Iterable[Write]) -> list[Sample]:
    """The writes by the manager's clock, each as long as it took by the guest's.

    A line is read a moment after it was written: that of each boot which came soonest tells when the guest booted.
    """
    found = list(writes)
    booted: dict[int, float] = {}
    for write in found:
        booted[write.boot] = min(booted.get(write.boot, write.seen), write.seen - write.end)
    return [
        Sample(
            kind=KIND, start=booted[w.boot] + w.begin, seconds=w.end - w.begin, error="" if w.good else "write failed"
        )
        for w in found
    ]


def away(writes: Iterable[Write]) -> float:
    """Seconds that the guest was gone between two boots, until its first write; 0: it ran on."""
    ordered = sorted(writes, key=lambda w: w.number)
    return sum(b.seen - a.seen for a, b in itertools.pairwise(ordered) if b.boot != a.boot)


def attempted(writes: Mapping[int, Write]) -> list[tuple[int, int]]:
    """First and last number of each boot that may be on the volume: all that were told, and one more under way."""
    last: dict[int, int] = {}
    for number, write in writes.items():
        last[write.boot] = max(last.get(write.boot, 0), number)
    return [(boot * AREA + 1, number + 1) for boot, number in sorted(last.items())]
