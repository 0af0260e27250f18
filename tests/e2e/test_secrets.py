# SPDX-License-Identifier: Apache-2.0
"""No secret in run records, logs, the process list, containers' environment, or the plan's text."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from blackbox import RegionUnderTest

pytestmark = pytest.mark.e2e

MAY_HOLD = ("clouds.yaml", "secure.yaml", "id_ed25519")
"""Files of the state folder whose purpose is a credential; they must be the owner's alone."""


def leaks(region: RegionUnderTest, text: bytes) -> list[str]:
    """Names of the secrets whose value is in `text`."""
    values = {value.encode(): name for name, value in region.secrets.items() if len(value) >= 8}
    found = set(re.findall(b"|".join(map(re.escape, values)), text))
    return sorted(values[value] for value in found)


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


def test_logs(region: RegionUnderTest) -> None:
    for service in sorted({s["service"] for s in region.scs("status", "--json").json()}):
        finished = region.scs("logs", service, "--lines", "100000")
        assert not leaks(region, (finished.out + finished.err).encode()), service


def test_container_definitions(region: RegionUnderTest) -> None:
    for host, container in region.containers():
        assert not leaks(region, region.on(host, "docker", "inspect", container).encode()), container


def test_container_labels_and_privileges(region: RegionUnderTest) -> None:
    for host, container in region.containers():
        assert not region.inspect(host, container)["HostConfig"]["Privileged"], container


def processes() -> Iterable[tuple[str, bytes]]:
    """Command line and environment of every process on this machine; a testbed's containers are among them."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield folder.name, (folder / "cmdline").read_bytes()
            yield folder.name, (folder / "environ").read_bytes()
        except OSError:  # it has ended, or is not ours to read
            continue


def test_process_list_at_rest_and_during_an_apply(region: RegionUnderTest) -> None:
    host = next(host for host, name in region.containers() if name == "placement")
    found: set[str] = set()
    count = 0
    region.on(host, "docker", "rm", "--force", "placement")
    done = threading.Event()

    def watch() -> None:
        nonlocal count
        while not done.wait(0.2):
            for pid, text in processes():
                count += 1
                if int(pid) != os.getpid():
                    found.update(f"{name} in {text[:80]!r}" for name in leaks(region, text))

    assert region.secrets  # read before the watch begins: ansible-vault is a process too
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        region.apply()
    finally:
        done.set()
        watcher.join()
    assert count > 100
    assert not found
