#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts this host's monitor.

One without a store joins the monitors that are there, whether it is new or lost its store: it never begins a cluster,
which `create_mon.py` does once in the life of a region. A quorum of new stores would forget everything.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ceph_command import FailedError, ask, patiently, run
from ceph_settings import CONF, DAEMON, MON_DATA, Settings, become, load

PORT = 3300
KEYRING = CONF / "mon.keyring"


def store(settings: Settings, data: Path = MON_DATA) -> Path:
    """The folder of this monitor's store."""
    return data / f"ceph-{settings.host}"


def address(settings: Settings) -> str:
    """Where this monitor listens: the encrypted protocol only."""
    return f"[v2:{settings.address}:{PORT}]"


def make(settings: Settings, monmap: Path, data: Path = MON_DATA) -> None:
    """A new store with a map of the monitors, there as a whole or not at all.

    :raises FailedError: ceph-mon refuses
    """
    new = data / "new"
    shutil.rmtree(new, ignore_errors=True)
    run(
        "ceph-mon", *DAEMON, "--mkfs", "--id", settings.host, "--mon-data", str(new),
        "--monmap", str(monmap), "--keyring", str(KEYRING), "--fsid", settings.fsid,
    )  # fmt: skip
    (new / "cluster").write_text(f"{settings.fsid}\n", encoding="utf-8")
    new.rename(store(settings, data))


def current_map(settings: Settings, target: Path) -> str:
    """Have the quorum's map of the monitors written to a file.

    :raises FailedError: no quorum answers
    """
    ask("mon.", KEYRING, "mon", "getmap", "--out-file", str(target))
    said = run("monmaptool", "--print", str(target))
    if problem := misplaced(said, settings):
        sys.exit(problem)
    return said


def misplaced(printed: str, settings: Settings) -> str:
    """Why the quorum's map has no room for this monitor; empty: it has.

    :param printed: by `monmaptool --print`
    """
    fsid = next((line.split()[1] for line in printed.splitlines() if line.startswith("fsid ")), "")
    if fsid != settings.fsid:
        return f"the monitors are of cluster {fsid}, not {settings.fsid}: compare mon_host and the secret ceph_fsid"
    own = next((line for line in printed.splitlines() if line.endswith(f" mon.{settings.host}")), "")
    if own and f"v2:{settings.address}:{PORT}/" not in own:
        return (
            f"the cluster knows mon.{settings.host} by another address ({own.split()[1]}): remove it from the cluster "
            f"first: ceph mon remove {settings.host}"
        )
    return ""


def join(settings: Settings, data: Path = MON_DATA) -> None:
    """Make a store that gets its content from the other monitors."""
    if settings.monitors.keys() == {settings.host}:
        sys.exit(f"mon.{settings.host} has no store, and there is no other monitor: scs recover ceph")
    monmap = data / "monmap"
    patiently("join the monitors", lambda: current_map(settings, monmap))
    make(settings, monmap, data)
    monmap.unlink()


def foreign(settings: Settings, data: Path = MON_DATA) -> str:
    """The cluster of this monitor's store, if it is another one; empty: it is this one."""
    file = store(settings, data) / "cluster"
    found = file.read_text(encoding="utf-8").strip() if file.is_file() else settings.fsid
    return "" if found == settings.fsid else found


def main() -> None:
    """Become the monitor."""
    settings = load()
    if not store(settings).is_dir():
        try:
            join(settings)
        except FailedError as error:
            sys.exit(str(error))
    if other := foreign(settings):
        sys.exit(f"{store(settings)} is of cluster {other}, not {settings.fsid}: compare the secret ceph_fsid")
    become("ceph-mon", *DAEMON, "--foreground", "--id", settings.host)


if __name__ == "__main__":
    main()
