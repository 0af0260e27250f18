#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Loads what `save_mon.py` printed, its input, into a new monitor of its own, and reads everything back.

Needs the image and no network. Prints what was found.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ceph_ask import AskError, Ceph
from ceph_command import FailedError, run
from create_mon import CIPHERS
from load_mon import LoadError, Missing, Saved, keyring_of, load, missing, parse
from save_mon import export

PLACE = Path("/run/ceph")
"""In memory: what is restored on trial reaches no disk."""

ADDRESS, ADMIN, START = "[v2:127.0.0.1:3300]", "client.admin", 60

CONF = """\
[global]
fsid = {fsid}
mon_host = {address}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
ms_bind_msgr1 = false
log_to_stderr = false
err_to_stderr = true
log_file =
mon_cluster_log_to_file = false
keyring = {place}/keyring
mon_data_avail_crit = 0
"""


def check_maps(saved: Saved, place: Path = PLACE) -> None:
    """Have Ceph's tools read the maps.

    :raises FailedError: a tool refuses one
    :raises LoadError: a map is another one
    """
    for name, tool in (("monmap", "monmaptool"), ("osdmap", "osdmaptool")):
        file = place / name
        file.write_bytes(base64.b64decode(saved[name]))
        lines = run(tool, "--print", str(file)).splitlines()
        if f"fsid {saved['fsid']}" not in lines:
            raise LoadError(f"the {name} is of another cluster")
    if f"epoch {saved['osd_epoch']}" not in lines:
        raise LoadError(f"the osdmap is not of epoch {saved['osd_epoch']}")
    crush = place / "crush"
    run("osdmaptool", str(place / "osdmap"), "--export-crush", str(crush))
    run("crushtool", "--decompile", str(crush))


@contextmanager
def monitor(saved: Saved, place: Path = PLACE) -> Iterator[Ceph]:
    """A monitor without OSDs that knows the operator's key only.

    :raises FailedError: it cannot be made
    :raises LoadError: it does not start
    """
    conf, keyring, monmap = place / "trial.conf", place / "keyring", place / "trial.map"
    conf.write_text(CONF.format(fsid=saved["fsid"], address=ADDRESS, place=place), encoding="utf-8")
    run("ceph-authtool", "--create-keyring", str(keyring), "--gen-key", "--name", "mon.", "--cap", "mon", "allow *")
    with keyring.open("a", encoding="utf-8") as file:
        file.write(keyring_of(ADMIN, saved["auth"][ADMIN]))
    run(
        "monmaptool", "--create", "--clobber", "--fsid", saved["fsid"], "--addv", "trial", ADDRESS,
        "--auth-allowed-ciphers", ",".join(CIPHERS), "--auth-service-cipher", CIPHERS[-1],
        "--auth-preferred-cipher", CIPHERS[-1], str(monmap),
    )  # fmt: skip
    daemon = ("ceph-mon", "--cluster", "ceph", "--conf", str(conf), "--id", "trial", "--mon-data", str(place / "mon"))
    run(*daemon, "--mkfs", "--monmap", str(monmap), "--keyring", str(keyring))
    with (place / "said").open("w", encoding="utf-8") as said:
        process = subprocess.Popen([*daemon, "--foreground"], stdout=said, stderr=said)
    try:
        with _connect(process, conf, place) as ceph:
            yield ceph
    finally:
        process.kill()
        process.wait()


def _connect(process: subprocess.Popen[bytes], conf: Path, place: Path) -> Ceph:
    end = time.monotonic() + START
    while True:
        try:
            return Ceph(ADMIN, conf=str(conf))
        except AskError as error:
            if process.poll() is not None or time.monotonic() > end:
                lines = (place / "said").read_text(encoding="utf-8", errors="replace").splitlines()
                raise LoadError(f"no monitor starts with the operator's key: {(lines or [str(error)])[-1]}") from None


def everything(saved: Saved, now: Saved) -> Missing:
    """What a new monitor lacks. OSDs are those that it will have; modules need a manager."""
    return missing(saved, {**now, "osds": saved["osds"], "noout": saved["noout"]}, ())._replace(modules=())


def differing(saved: Saved, now: Saved, loaded: Missing) -> list[str]:
    """What is not as it was saved."""
    wrong = [f"key of {e}" for e in loaded.auth if now["auth"].get(e) != saved["auth"][e]]
    wrong += [
        f"option {name} of {who}" for who, name in loaded.config
        if now["config"].get(who, {}).get(name) != saved["config"][who][name]
    ]  # fmt: skip
    return wrong + [f"config-key {k}" for k in loaded.keys if now["keys"].get(k) != saved["keys"][k]]


def main() -> str:
    """Try it; what was found, in words."""
    saved = parse(sys.stdin.read())
    check_maps(saved)
    with monitor(saved) as ceph:
        lacks = everything(saved, export(ceph))
        load(ceph, saved, lacks)
        if wrong := differing(saved, export(ceph), lacks):
            raise LoadError(f"{len(wrong)} read back otherwise: {', '.join(wrong)}")
    return (
        f"{len(lacks.auth)} keys, {len(lacks.config)} options and {len(lacks.keys)} config-keys load into a monitor; "
        f"map {saved['osd_epoch']} of {len(saved['osds'])} OSDs and {len(saved['pools'])} pools is whole"
    )


if __name__ == "__main__":
    try:
        print(main())
    except (AskError, FailedError, LoadError) as failure:
        sys.exit(str(failure))
