# SPDX-License-Identifier: Apache-2.0
"""Files that stand for disks: blank ones, and some with real signatures of data."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

OTHER = "22222222-2222-2222-2222-222222222222"
"""Ceph cluster of the BlueStore of `filled`."""


def label(cluster: str, osd: str) -> bytes:
    """The label of a BlueStore: the beginning, and two of the keys and values in it."""
    pairs = {"ceph_fsid": cluster, "whoami": osd}
    texts = b"".join(struct.pack("<I", len(t)) + t.encode() for pair in pairs.items() for t in pair)
    return b"bluestore block device\n" + b"33333333-3333-3333-3333-333333333333\n" + bytes(40) + texts


def blank(path: Path, mib: int = 16) -> Path:
    with path.open("wb") as file:
        file.truncate(mib << 20)
    return path


def partition_table(kind: str, sectors: int) -> bytes:
    """The first sectors of a disk with a partition table: MBR, and for `gpt` the header of UEFI 2.10, 5.3.2."""
    entry = struct.pack("<B3sB3sII", 0, b"", 0xEE if kind == "gpt" else 0x83, b"", 1, sectors - 1)
    mbr = bytes(446) + entry + bytes(48) + b"\x55\xaa"
    if kind == "dos":
        return mbr
    entries = bytes(128 * 128)
    guid = b"g" * 16

    def header(checksum: int) -> bytes:
        numbers = (1, sectors - 1, 34, sectors - 34)
        head = struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, checksum, 0, *numbers)
        return head + guid + struct.pack("<QIII", 2, 128, 128, zlib.crc32(entries))

    return mbr + header(zlib.crc32(header(0))).ljust(512, b"\0") + entries


def filled(path: Path, kind: str) -> Path:
    """A file with a real signature of a kind."""
    blank(path)
    commands = {
        "ext4": ["mke2fs", "-q", "-t", "ext4", str(path)],
        "swap": ["mkswap", "-q", str(path)],
    }
    if kind in commands:
        subprocess.run(commands[kind], check=True, capture_output=True)
        return path
    with path.open("r+b") as file:
        if kind in ("gpt", "dos"):
            file.write(partition_table(kind, path.stat().st_size // 512))
        elif kind == "a BlueStore":
            file.write(label(OTHER, "3"))
        else:
            file.seek(4096)
            file.write(b"whatever")
    return path


needed = pytest.mark.skipif(not all(map(shutil.which, ("wipefs", "mke2fs", "mkswap"))), reason="no tools for disks")
