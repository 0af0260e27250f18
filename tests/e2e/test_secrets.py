# SPDX-License-Identifier: Apache-2.0
"""No secret in run records, logs, the process list, containers' environment, or the plan's text."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.blackbox import RegionUnderTest

pytestmark = pytest.mark.e2e

MAY_HOLD = ("clouds.yaml", "secure.yaml", "id_ed25519")
"""Files of the state folder whose purpose is a credential; they must be the owner's alone."""

NAMES = ("ceph_fsid", "cinder_libvirt_id")
"""Of the cluster and of a key: kept with the secrets because each region has its own, and shown by every Ceph."""


def leaks(region: RegionUnderTest, text: bytes) -> list[str]:
    """Names of the secrets whose value is in `text`."""
    values = {n: v for n, v in region.secrets.items() if n not in NAMES and len(v) >= 8}
    return sorted(name for name, value in values.items() if value.encode() in text)


def test_there_are_secrets_to_look_for(region: RegionUnderTest) -> None:
    assert len([v for v in region.secrets.values() if len(v) >= 8]) >= 10
    assert leaks(region, f"x {next(v for v in region.secrets.values() if len(v) >= 8)} y".encode())


def test_state_folder(region: RegionUnderTest) -> None:
    for file in sorted((region.folder / "state").rglob("*")):
        if not file.is_file():
            continue
        if file.name in MAY_HOLD:
            assert file.stat().st_mode & 0o077 == 0, f"{file} is readable by others"
        else:
            assert not leaks(region, file.read_bytes()), file


def test_output_of_commands(region: RegionUnderTest) -> None:
    for command in (("plan", "--json"), ("status", "--json"), ("runs", "list", "--json"), ("runs", "show", "--json")):
        finished = region.scs(*command)
        assert not leaks(region, (finished.out + finished.err).encode()), command


def hosts(region: RegionUnderTest) -> list[str]:
    return sorted({host for host, _ in region.containers()})


@pytest.mark.parametrize(
    "command",
    [
        "find -L /var/log -type f -exec cat {} +",
        "docker ps --all --quiet | xargs --max-args 1 docker logs --timestamps 2>&1",
        "journalctl --output cat --all",
        # without what stands for the disks of Ceph, gigabytes in which the cluster has its own keys
        "find /var/lib/scs /run/scs /root/.ansible /tmp -path /var/lib/scs/disks -prune -o -type f -exec cat {} + "
        "2>/dev/null",
    ],
    ids=["var-log", "docker-logs", "journal", "records"],
)
def test_hosts(region: RegionUnderTest, command: str) -> None:
    for host in hosts(region):
        text = region.on(host, "sh", "-c", command, expect=None)
        print(f"{host}: {command}: {len(text)} characters, {leaks(region, text.encode()) or 'no secret'}")
        assert len(text) > 100 or "ansible" in command
        assert not leaks(region, text.encode())


def test_logs_of_scs(region: RegionUnderTest) -> None:
    finished = region.scs("logs", "keystone", "--lines", "100000")
    assert not leaks(region, (finished.out + finished.err).encode())


def test_container_definitions(region: RegionUnderTest) -> None:
    for host in hosts(region):
        text = region.on(host, "sh", "-c", "docker ps --all --quiet | xargs docker inspect")
        found = json.loads(text)
        assert len(found) == len([name for h, name in region.containers() if h == host])
        assert not leaks(region, text.encode())
        assert not [c["Name"] for c in found if c["HostConfig"]["Privileged"]]


def processes() -> Iterable[tuple[str, str, bytes]]:
    """Command line and environment of every process on this machine; a testbed's containers are among them."""
    for folder in Path("/proc").glob("[0-9]*"):
        for kind in ("cmdline", "environ"):
            try:
                yield folder.name, kind, (folder / kind).read_bytes()
            except OSError:  # it has ended, or is not ours to read
                continue


def command(pid: str) -> str:
    """A process's name; its command line may hold what must not be shown."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return f"process {pid}"


@pytest.mark.long
def test_process_list_during_an_apply(region: RegionUnderTest) -> None:
    """An apply that runs every job again and makes containers of several services."""
    for host in hosts(region):
        region.on(host, "sh", "-c", "rm -f /var/lib/scs/jobs/*; docker rm --force placement keystone_fernet nova_api")
    found: set[str] = set()
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for pid, kind, text in processes():
                if int(pid) != os.getpid():
                    seen.add(pid)
                    found.update(f"{name} in {kind} of {command(pid)}" for name in leaks(region, text))

    assert region.secrets  # read before the watch begins: ansible-vault is a process too
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output = region.apply().out
    finally:
        done.set()
        watcher.join()
    print(f"{len(seen)} processes seen, {found or 'no secret'}; {output.splitlines()[-1]}")
    assert len(seen) > 100
    assert not found
    assert not leaks(region, output.encode())
    assert region.plan() == []
