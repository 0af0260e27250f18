# SPDX-License-Identifier: Apache-2.0
"""What a disk holds: partition tables, file systems, LVM, RAID, a BlueStore, or anything else that is not zero.

util-linux knows the signatures, and Ceph's own tool what is in the label of a BlueStore. Only reads.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

HEAD = 1 << 20
"""Bytes at the beginning that a blank disk has as zeros: an unknown kind of data begins there, too."""

BLUESTORE = "ceph_bluestore"

WORDS = {
    "gpt": "a partition table (gpt)",
    "dos": "a partition table (dos)",
    "PMBR": "a partition table (gpt)",
    "LVM2_member": "LVM",
    "linux_raid_member": "a member of a RAID",
    "crypto_LUKS": "LUKS",
    "swap": "swap space",
    BLUESTORE: "a BlueStore",
}


class Label(NamedTuple):
    """Of a BlueStore: whose it is."""

    cluster: str
    osd_uuid: str
    number: str
    finished: bool
    """whether the OSD was made to the end"""


class Contents(NamedTuple):
    """What is on a disk."""

    signatures: tuple[str, ...] = ()
    label: Label | None = None
    other: bool = False
    """its beginning is not zero, and nothing tells why"""
    in_use: bool = False

    @property
    def blank(self) -> bool:
        """Whether nothing is lost with what is there."""
        return not (self.signatures or self.label or self.other or self.in_use)


def look(path: str) -> Contents:
    """What is on a device or in a file; a file that does not exist is blank.

    :raises OSError: it cannot be read
    """
    if not Path(path).exists():
        return Contents()
    signatures = parse_wipefs(_run("wipefs", "--no-act", "--json", path))
    label = read_label(path)
    with Path(path).open("rb") as disk:
        other = not signatures and label is None and any(disk.read(HEAD))
    return Contents(signatures, label, other, _in_use(path))


def describe(found: Contents) -> str:
    """In words, e.g. `a partition table (gpt), ext4`; empty: it is blank."""
    words = ["it is in use: mounted, or part of LVM or a RAID"] if found.in_use else []
    words += [WORDS.get(s, s) for s in found.signatures if s != BLUESTORE]
    if found.label:
        words.append(f"a BlueStore of osd.{found.label.number or '?'} of cluster {found.label.cluster or 'unknown'}")
    elif BLUESTORE in found.signatures:
        words.append("a BlueStore without a label that can be read")
    if found.other:
        words.append("data of an unknown kind")
    return ", ".join(dict.fromkeys(words))


def parse_wipefs(output: str) -> tuple[str, ...]:
    """The types of the signatures that `wipefs --json` found, in their order on the disk."""
    data = json.loads(output) if output.strip() else {}
    return tuple(dict.fromkeys(str(entry["type"]) for entry in data.get("signatures", ())))


def read_label(path: str) -> Label | None:
    """The label of a BlueStore; None: it has none."""
    with Path(path).open("rb") as disk:
        if not disk.read(24).startswith(b"bluestore block device"):
            return None
    try:
        return parse_label(json.loads(_run("ceph-bluestore-tool", "show-label", "--dev", path)), path)
    except (OSError, ValueError):
        return Label("", "", "", finished=False)


def parse_label(data: Any, path: str) -> Label:
    """The answer of `ceph-bluestore-tool show-label`."""
    entry = data.get(path) or next(iter(data.values()))
    finished = entry.get("ready") == "ready" and "whoami" in entry
    return Label(entry.get("ceph_fsid", ""), entry.get("osd_uuid", ""), str(entry.get("whoami", "")), finished)


def _in_use(path: str) -> bool:
    """Whether the kernel has a block device open for something else."""
    if not stat.S_ISBLK(Path(path).stat().st_mode):
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
