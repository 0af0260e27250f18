# SPDX-License-Identifier: Apache-2.0
"""Every check of a host and of the manager can fail, and says what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.doctor import hosts, machine
from scs_deploy.doctor.hosts import Answer, Facts
from scs_deploy.doctor.model import GIB, Check, expiry
from scs_deploy.inventory.model import Host
from scs_deploy.operations.certificates import Entry
from tests.support import node_modules

HOST = Host(name="control-1", address="192.0.2.1", networks={}, groups=())
GOOD: dict[str, Any] = {
    "time": 1000.0, "clock_state": 0, "container": False, "kernel": "6.12.1-amd64", "newest_kernel": "6.12.1-amd64",
    "engine": {"Version": "26.1", "ApiVersion": "1.45", "MinAPIVersion": "1.24", "DockerRootDir": "/var/lib/docker"},
    "disks": {"/": (50 * GIB, 100 * GIB)}, "memory": (8 * GIB, 16 * GIB), "reboot": False, "cgroup2": True,
    "missing_devices": (), "missing_modules": (), "programs": hosts.wanted(),
}  # fmt: skip


def judged(sent: float = 999.9, received: float = 1000.1, **other: Any) -> dict[str, Check]:
    answer = Answer(facts=Facts.model_validate({**GOOD, **other}), sent=sent, received=received)
    return {c.check: c for c in hosts.judge(HOST, answer, hosts.wanted(), {})}


def test_a_good_host() -> None:
    assert {c.level.value for c in judged().values()} == {"ok"}


@pytest.mark.parametrize(
    ("check", "level", "seen", "facts"),
    [
        ("clock", "failed", "+60.0 s", {"time": 1060.1}),
        ("clock", "failed", "-59.9 s", {"time": 940.0}),
        ("clock", "warning", "+0.9 s", {"time": 1001.0}),
        ("clock", "warning", "not synchronised", {"clock_state": 5}),
        ("disk", "failed", "0.5 of 40.0 GiB", {"disks": {"/": (50 * GIB, 99 * GIB), "/var": (GIB // 2, 40 * GIB)}}),
        ("disk", "warning", "3.0 of 40.0 GiB", {"disks": {"/": (3 * GIB, 40 * GIB)}}),
        ("memory", "failed", "0.1 of 16.0 GiB", {"memory": (GIB // 10, 16 * GIB)}),
        ("engine", "failed", "no such file", {"engine": {"error": "no such file"}}),
        ("engine", "failed", "lacks API 1.41", {"engine": {"Version": "19.03", "ApiVersion": "1.40"}}),
        ("engine", "failed", "dropped API 1.41",
         {"engine": {"Version": "29.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44"}}),
        ("programs", "failed", "missing: /usr/local/libexec/scs-keeper", {"programs": {}}),
        ("programs", "warning", "of another scs: /usr/local/libexec/scs-keeper",
         {"programs": {**hosts.wanted(), "/usr/local/libexec/scs-keeper": "0" * 64}}),
        ("reboot", "warning", "pending", {"reboot": True}),
        ("reboot", "warning", "6.12.9-amd64 is installed, 6.12.1-amd64 runs", {"newest_kernel": "6.12.9-amd64"}),
        ("kernel", "failed", "lacks /dev/kvm", {"missing_devices": ("/dev/kvm",)}),
        ("kernel", "failed", "lacks module openvswitch", {"missing_modules": ("openvswitch",)}),
        ("kernel", "warning", "cgroup v1", {"cgroup2": False}),
    ],
)  # fmt: skip
def test_a_bad_host(check: str, level: str, seen: str, facts: dict[str, Any]) -> None:
    found = judged(**facts)
    assert found[check].level == level
    assert seen in found[check].seen
    assert found[check].remedy
    assert {c.level.value for name, c in found.items() if name != check} == {"ok"}


def test_a_slow_answer_is_no_wrong_clock() -> None:
    assert judged(sent=990.0, received=1010.0, time=1009.0)["clock"].seen == "+0.0 s"


def test_certificates_expire() -> None:
    assert [expiry("c", days, "", "renew").level.value for days in (-1, 0, 29, 30)] == [
        "failed",
        "warning",
        "warning",
        "ok",
    ]
    missing = Entry(kind="issued", name="galera/control-1", where="certificates.yml", problem="is missing")
    assert [c.level.value for c in hosts.certificate([missing], "control-1")] == ["failed"]
    assert list(hosts.certificate([], "storage-1")) == []


def test_the_module_looks_at_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = node_modules.load(monkeypatch, "doctor")
    file = tmp_path / "program"
    file.write_text("#!/bin/sh\n")
    monkeypatch.setattr(module, "SOCKET", str(tmp_path / "no.sock"))
    monkeypatch.setattr(module, "REBOOT", str(file))
    asked = {
        "programs": [str(file), "/missing"],
        "devices": ["/dev/null", "/dev/nosuch"],
        "modules": ["no_such_module"],
    }
    found = Facts.model_validate(module.facts(asked))
    assert abs(found.time - time.time()) < 5
    assert "No such file" in found.engine["error"]
    assert found.disks["/"][1] > 0
    assert found.kernel == os.uname().release
    assert (found.missing_devices, found.missing_modules) == (("/dev/nosuch",), ("no_such_module",))
    assert list(found.programs) == [str(file)]
    assert found.reboot


def test_the_newest_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = node_modules.load(monkeypatch, "doctor")
    flavour = os.uname().release.rpartition("-")[2]
    assert module.newest_kernel(str(tmp_path)) == ""
    for name in (f"6.9.2-{flavour}", f"6.12.10-{flavour}", f"6.12.9-{flavour}", "7.0-other"):
        (tmp_path / f"vmlinuz-{name}").touch()
    assert module.newest_kernel(str(tmp_path)) == f"6.12.10-{flavour}"


def test_docker_speaks_what_the_modules_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    node_modules.load(monkeypatch, "observe")
    from ansible_collections.scs.core.plugins.module_utils import engine

    assert f"/v{'.'.join(map(str, machine.API))}" == engine.VERSION


def test_a_bad_manager(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 16000000 kB\nMemAvailable: 100000 kB\n")
    found = [
        machine.python((3, 9, 2)), machine.programs(("no-such-program",)), machine.memory(info),
        machine.language("xx_XX.UTF-8"),
    ]  # fmt: skip
    assert [c.level.value for c in found] == ["failed"] * 4
    assert all(c.remedy for c in found)
    assert machine.clock(lambda: machine.UNSYNCHRONISED).level == "warning"
    assert machine.clock(lambda: None).level == "ok"
    assert machine.disk("disk", Path("/proc")).check == "disk"
