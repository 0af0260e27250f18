#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts the OSD of this container's disk; makes it first on a blank disk, exactly once.

A disk that holds anything else is refused, with what was found. One with an OSD of this cluster is used as it is, also
if the container's volume is new.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import sys
import time
import uuid
from pathlib import Path

from ceph_command import FailedError, ask, patiently, run
from ceph_settings import CONF, DAEMON, OSD_DATA, Disk, Settings, become, load, mon_host, osd_id, say
from disk_contents import Contents, describe, look, read_label

BOOTSTRAP, KEYRING = "client.bootstrap-osd", CONF / "bootstrap-osd.keyring"
WIPE = "scs storage osd replace"
LABELS = (0, 1 << 30, 10 << 30, 100 << 30, 1000 << 30)
"""Where a BlueStore has its label and copies of it, BDEV_LABEL_POSITIONS in src/os/bluestore/BlueStore.h."""

AES256, KEY_BYTES = 2, 32
"""CEPH_CRYPTO_AES256KRB5 in src/include/ceph_fs.h, what 20.2 takes for daemons, and the length of its keys."""


class RefusedError(Exception):
    """The disk is not this OSD's to use."""


def refusal(disk: Disk, found: Contents, part: str = "") -> str:
    """Why a disk cannot become an OSD; empty: it is blank.

    :param part: `db` or `wal` of the OSD; empty: the disk itself
    """
    if found.blank:
        return ""
    path = {"db": disk.db, "wal": disk.wal}.get(part, disk.path)
    return (
        f"disk {disk.name}: {path} holds {describe(found)}: if nobody needs that, erase it (wipefs --all and zeros at "
        "its beginning), or choose another disk in the inventory"
    )


def is_ours(found: Contents, settings: Settings) -> bool:
    """Whether the disk is a finished OSD of this cluster."""
    label = found.label
    return label is not None and label.finished and label.cluster == settings.fsid and not found.in_use


def begun(data: Path = OSD_DATA) -> dict[str, str]:
    """Id and key of the OSD that an earlier start began to make here; made up now if there was none."""
    file = data / "new.json"
    if not file.is_file():
        key = base64.b64encode(struct.pack("<hIIh", AES256, int(time.time()), 0, KEY_BYTES) + os.urandom(KEY_BYTES))
        temporary = file.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"uuid": str(uuid.uuid4()), "key": key.decode()}), encoding="utf-8")
        temporary.rename(file)
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def prepare(disk: Disk, own_uuid: str) -> None:
    """Have the disk blank: one that is not is refused, unless an interrupted start of ours wrote to it.

    :raises RefusedError: it holds something
    """
    for part in ("", "db", "wal"):
        path = {"db": disk.db, "wal": disk.wal}.get(part, disk.path)
        if not path:
            continue
        found = look(path)
        if found.label and found.label.osd_uuid == own_uuid and not found.in_use:
            _erase(Path(path))
        elif why := refusal(disk, found, part):
            raise RefusedError(why)
    if disk.file_bytes:
        with Path(disk.path).open("ab") as file:
            file.truncate(disk.file_bytes)


def _erase(path: Path) -> None:
    """Take away what our own unfinished start wrote."""
    with path.open("r+b") as disk:
        size = disk.seek(0, os.SEEK_END)
        for place in LABELS:
            if place < size:
                disk.seek(place)
                disk.write(bytes(min(1 << 20 if place == 0 else 4096, size - place)))


def create(settings: Settings, disk: Disk, data: Path = OSD_DATA) -> int:
    """Make the OSD; its number.

    :raises RefusedError: the disk holds something
    :raises FailedError: a tool refuses
    """
    mine = begun(data)
    prepare(disk, mine["uuid"])
    secret = json.dumps({"cephx_secret": mine["key"]})
    answer = patiently(
        "register the OSD",
        lambda: ask(BOOTSTRAP, KEYRING, "osd", "new", mine["uuid"], "--in-file", "-", given=secret),
    )
    number = int(answer)
    monmap, new = data / "monmap", data / "new"
    patiently("read the monitors' map", lambda: ask(BOOTSTRAP, KEYRING, "mon", "getmap", "--out-file", str(monmap)))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _write(new / "keyring", f"[osd.{number}]\n\tkey = {mine['key']}\n")
    _write(new / "key", mine["key"])
    _class(disk, new)
    more = [w for name, path in (("db", disk.db), ("wal", disk.wal)) if path
            for w in (f"--bluestore-block-{name}-path", path)]  # fmt: skip
    run(
        "ceph-osd", *DAEMON, "--mkfs", "--id", str(number), "--osd-uuid", mine["uuid"],
        "--osd-data", str(new), "--bluestore-block-path", disk.path, *more, "--monmap", str(monmap),
        "--keyfile", str(new / "key"), "--mon-host", mon_host(settings),
    )  # fmt: skip
    (new / "key").unlink()
    new.rename(data / f"ceph-{number}")
    monmap.unlink()
    (data / "new.json").unlink()
    return number


def _class(disk: Disk, folder: Path) -> None:
    """Have a new OSD take the class of the inventory, in place of what Ceph guesses."""
    if disk.device_class:
        _write(folder / "crush_device_class", f"{disk.device_class}\n")


def _write(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


def adopt(disk: Disk, found: Contents, data: Path = OSD_DATA) -> int:
    """Make the folder of an OSD that the disk has already; its number.

    :raises FailedError: the disk's label lacks something
    """
    assert found.label is not None
    number = int(found.label.number)
    new = data / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    run("ceph-bluestore-tool", "prime-osd-dir", "--dev", disk.path, "--path", str(new))
    for name, path in (("block", disk.path), ("block.db", disk.db), ("block.wal", disk.wal)):
        if path:
            (new / name).unlink(missing_ok=True)
            (new / name).symlink_to(path)
    _class(disk, new)
    new.rename(data / f"ceph-{number}")
    (data / "new.json").unlink(missing_ok=True)
    say(f"disk {disk.name} has osd.{number} of this cluster")
    return number


def mismatch(settings: Settings, disk: Disk, number: int) -> str:
    """Why the OSD of this container cannot run on what its disk holds; empty: it can."""
    label = read_label(disk.path) if Path(disk.path).exists() else None
    if label is None:
        return (
            f"disk {disk.name}: {disk.path} has no data of osd.{number}, which this container had: was the disk "
            f"exchanged? {WIPE} makes a new OSD on it"
        )
    if label.cluster and label.cluster != settings.fsid:
        return f"disk {disk.name}: {disk.path} is of cluster {label.cluster}, not {settings.fsid}"
    if label.number and label.number != str(number):
        return f"disk {disk.name}: {disk.path} has osd.{label.number}, and this container had osd.{number}"
    return ""


def provide(settings: Settings, disk: Disk, data: Path = OSD_DATA) -> int:
    """The number of this disk's OSD, which is made if the disk is blank.

    :raises RefusedError: the disk is not this OSD's to use
    :raises FailedError: a tool refuses
    """
    number = osd_id(data)
    if number is None:
        found = look(disk.path)
        if is_ours(found, settings):
            return adopt(disk, found, data)
        return create(settings, disk, data)
    if why := mismatch(settings, disk, number):
        raise RefusedError(why)
    return number


def main() -> None:
    """Become the OSD."""
    settings = load()
    assert settings.disk
    try:
        number = provide(settings, settings.disk)
    except (RefusedError, FailedError, OSError) as error:
        sys.exit(str(error))
    become(
        "ceph-osd", *DAEMON, "--mon-host", mon_host(settings), "--foreground",
        "--id", str(number),
    )  # fmt: skip


if __name__ == "__main__":
    main()
