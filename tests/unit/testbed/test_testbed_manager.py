# SPDX-License-Identifier: Apache-2.0
"""A testbed's changes on the manager: hosts file and known hosts. Also the durations and memory usage of stages."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.inventory import ssh
from scs_deploy.testbed import cgroups, manager, stages

NAMES = (("10.0.0.9", "internal.example"), ("10.0.0.10", "api.example"))
BLOCK = "# BEGIN scs testbed lab\n10.0.0.9 internal.example\n10.0.0.10 api.example\n# END scs testbed lab\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", BLOCK),
        ("127.0.0.1 localhost", "127.0.0.1 localhost\n" + BLOCK),
        (BLOCK, BLOCK),
        ("# BEGIN scs testbed lab\n10.9.9.9 old\n# END scs testbed lab\n::1 six\n", "::1 six\n" + BLOCK),
        ("# BEGIN scs testbed laboratory\n# END scs testbed laboratory\n", None),
    ],
)
def test_the_block_is_added_replaced_and_kept(before: str, after: str | None) -> None:
    assert manager.with_block(before, "lab", NAMES) == (after if after is not None else before + BLOCK)


def test_down_restores_the_hosts_file(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("127.0.0.1 localhost\n")
    assert manager.set_names("lab", NAMES, file)
    assert not manager.set_names("lab", NAMES, file)
    assert manager.set_names("lab", (), file)
    assert file.read_text() == "127.0.0.1 localhost\n"


def test_an_unwritable_hosts_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ScsError, match="needs root"):
        manager.set_names("lab", NAMES, tmp_path / "none" / "hosts")


def test_a_new_host_key_replaces_only_the_old_one() -> None:
    before = "n2 ssh-ed25519 OTHER\nn1 ssh-ed25519 OLD\n"
    assert ssh.known_hosts(before, {"n1": "ssh-ed25519 NEW"}) == "n1 ssh-ed25519 NEW\nn2 ssh-ed25519 OTHER\n"


def test_routes_without_the_default() -> None:
    text = json.dumps(
        [{"dst": "default", "dev": "e"}, {"dst": "10.0.0.0/8", "dev": "e"}, {"dst": "192.0.2.1", "dev": "f"}]
    )
    assert list(manager.parse_routes(text).values()) == [IPv4Network("10.0.0.0/8"), IPv4Network("192.0.2.1/32")]


def test_stages_are_measured_in_order_and_their_shares_add_up() -> None:
    times = stages.Stages()
    for name in ("images", "hosts"):
        with times.stage(name):
            pass
    with pytest.raises(ScsError), times.stage("deploy"):
        raise ScsError("no")
    assert [s.name for s in times.stages] == ["images", "hosts", "deploy"]
    assert sum(s.share for s in times.stages) == pytest.approx(1)


def test_used_memory_excludes_available_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       1000 kB\nMemFree:    1 kB\nMemAvailable:    400 kB\n")
    monkeypatch.setattr(stages, "MEMINFO", file)
    assert stages.used_memory() == 600 * 1024


def _process(proc: Path, pid: int, parent: int, group: str, pss: int) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "stat").write_text(f"{pid} (a name) with) S {parent} 0 0")
    (folder / "cgroup").write_text(f"9:name=systemd:{group}\n0::{group}\n")
    (folder / "smaps_rollup").write_text(f"0-1 ---p [rollup]\nRss: 9 kB\nPss: {pss} kB\nPss_Dirty: 1 kB\n")


def test_a_nodes_processes_are_found_by_their_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "PROC", tmp_path)
    _process(tmp_path, 10, 1, "/docker/node", 5)
    _process(tmp_path, 11, 10, "/docker/node/system.slice", 7)
    _process(tmp_path, 12, 11, "/docker/inner", 11)
    _process(tmp_path, 20, 1, "/docker/another", 100)
    assert sorted(cgroups.processes(10)) == [10, 11, 12]
    assert cgroups.memory_of_tree(10) == 23 * 1024
    assert cgroups.of_nested_containers(10) == {"/docker/inner"}
    assert cgroups.processes(99) == []


@pytest.mark.parametrize(("file", "nodes", "written"), [
    ("cpu/scs-testbed-ha/cpu.shares", 3, 6144),
    ("scs-testbed-ha/cpu.weight", 3, 600),
    ("scs-testbed-ha/cpu.weight", 90, 10000),
])  # fmt: skip
def test_nodes_have_more_cpu_weight_than_their_manager(
    file: str, nodes: int, written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("100\n")
    cgroups.weigh(cgroups.all_nodes("testbed-ha", "cgroupfs"), nodes)
    assert int((tmp_path / file).read_text()) == written
    assert cgroups.all_nodes("testbed-ha", "systemd") == "scs_testbed_ha.slice"


def test_the_error_for_a_missing_engine_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from scs_deploy.base import docker_engine

    docker_engine.connect.cache_clear()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(RefusedError, match=r"cannot connect to the Docker engine: .*make setup") as error:
        docker_engine.connect()
    assert "\n" not in str(error.value)
