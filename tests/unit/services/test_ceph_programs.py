# SPDX-License-Identifier: Apache-2.0
"""The programs in Ceph's containers: when a monitor or an OSD is made, and which disks are refused."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import ceph_health
import ceph_socket
import create_mon
import disk_contents
import pytest
import settle
import start_mgr
import start_mon
import start_osd
from ceph_command import FailedError
from ceph_settings import Disk, Settings, load, osd_id
from disk_contents import Contents, Label

from tests.support.disk_images import OTHER, blank, filled, needed

FSID = "11111111-1111-1111-1111-111111111111"
ALONE = Settings(FSID, "a", "192.0.2.1", {"a": "192.0.2.1"})
THREE = ALONE._replace(monitors={"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"})
PRINTED = f"""\
epoch 3
fsid {FSID}
min_mon_release 20 (tentacle)
0: v2:192.0.2.1:3300/0 mon.a
1: v2:192.0.2.2:3300/0 mon.b
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stand-ins of Ceph's tools; calls are recorded in `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/bin")
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n{script}\n')
    file.chmod(0o755)


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


MKFS = 'while [ $# -gt 0 ]; do [ "$1" = --mon-data ] && mkdir "$2"; shift; done'
GETMAP = f'for last; do :; done; cat > "$last" <<X\n{PRINTED}X'
PRINT = 'if [ "$1" = --print ]; then cat "$2"; else for last; do :; done; echo new > "$last"; fi'


# monitors


def test_a_new_region_begins_with_one_monitor_that_takes_keys_of_clients_and_daemons(
    tools: Path, tmp_path: Path
) -> None:
    tool(tools, "monmaptool", PRINT)
    tool(tools, "ceph-mon", MKFS)
    assert create_mon.create(ALONE, tmp_path)
    assert (tmp_path / "ceph-a" / "cluster").read_text().strip() == FSID
    made = next(c for c in calls(tools) if c.startswith("monmaptool --create"))
    assert f"--fsid {FSID} --addv a [v2:192.0.2.1:3300]" in made
    assert "--auth-allowed-ciphers aes,aes256k --auth-service-cipher aes256k" in made
    assert not create_mon.create(ALONE, tmp_path), "once"


def test_a_cluster_is_not_begun_where_monitors_of_it_answer(tools: Path, tmp_path: Path) -> None:
    tool(tools, "ceph", GETMAP)
    tool(tools, "monmaptool", PRINT)
    assert not create_mon.create(THREE, tmp_path)
    assert not (tmp_path / "ceph-a").exists()


def test_a_monitor_without_a_store_joins_the_others_and_never_begins(tools: Path, tmp_path: Path) -> None:
    tool(tools, "ceph", GETMAP)
    tool(tools, "monmaptool", PRINT)
    tool(tools, "ceph-mon", MKFS)
    start_mon.join(THREE, tmp_path)
    assert (tmp_path / "ceph-a").is_dir()
    assert not (tmp_path / "new").exists()
    asked = next(c for c in calls(tools) if c.startswith("ceph "))
    assert "--name mon. " in asked
    assert "mon getmap" in asked
    with pytest.raises(SystemExit, match="no other monitor: scs recover ceph"):
        start_mon.join(ALONE, tmp_path)


def test_an_interrupted_mkfs_leaves_no_store(tools: Path, tmp_path: Path) -> None:
    tool(tools, "ceph-mon", f"{MKFS}\necho broken >&2; exit 1")
    with pytest.raises(FailedError, match="ceph-mon: broken"):
        start_mon.make(ALONE, tmp_path / "map", tmp_path)
    assert not (tmp_path / "ceph-a").exists()
    tool(tools, "ceph-mon", MKFS)
    start_mon.make(ALONE, tmp_path / "map", tmp_path)
    assert (tmp_path / "ceph-a").is_dir()


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (PRINTED, ""),
        (PRINTED.replace("0: v2:192.0.2.1:3300/0 mon.a\n", ""), ""),
        (PRINTED.replace(FSID, OTHER), f"the monitors are of cluster {OTHER}, not {FSID}"),
        (PRINTED.replace("192.0.2.1", "192.0.2.9"), "knows mon.a by another address (v2:192.0.2.9:3300/0)"),
    ],
)
def test_a_map_without_room_for_this_monitor_is_refused(printed: str, said: str) -> None:
    found = start_mon.misplaced(printed, THREE)
    assert found.startswith(said) if said.startswith("the monitors") else said in found
    assert bool(found) == bool(said)


def test_a_store_of_another_cluster_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "ceph-a").mkdir()
    (tmp_path / "ceph-a" / "cluster").write_text(f"{OTHER}\n")
    assert start_mon.foreign(ALONE, tmp_path) == OTHER
    assert start_mon.foreign(ALONE._replace(fsid=OTHER), tmp_path) == ""


def test_a_manager_registers_its_key_once_and_again_when_it_is_another(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_mgr, "OWN", tmp_path / "mgr.keyring")
    (tmp_path / "mgr.keyring").write_text("[mgr.a]\n\tkey = one\n")
    tool(tools, "ceph", "exit 0")
    keyring = start_mgr.register(ALONE, tmp_path)
    start_mgr.register(ALONE, tmp_path)
    assert len(calls(tools)) == 1
    assert keyring.stat().st_mode & 0o777 == 0o600
    (tmp_path / "mgr.keyring").write_text("[mgr.a]\n\tkey = two\n")
    start_mgr.register(ALONE, tmp_path)
    assert len(calls(tools)) == 2
    assert keyring.read_text() == "[mgr.a]\n\tkey = two\n"


# disks


@needed
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ext4", "ext4"), ("swap", "swap space"), ("gpt", "a partition table (gpt)"),
        ("dos", "a partition table (dos)"), ("a BlueStore", "a BlueStore of osd.? of cluster unknown"),
        ("anything", "data of an unknown kind"),
    ],
)  # fmt: skip
def test_a_disk_that_holds_data_is_refused_with_what_was_found(tmp_path: Path, kind: str, said: str) -> None:
    path = filled(tmp_path / "disk", kind)
    before = path.read_bytes()
    disk = Disk("a", str(path), "", 0, "", "")
    with pytest.raises(start_osd.RefusedError) as error:
        start_osd.prepare(disk, "our own")
    assert f"disk a: {path} holds {said}" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


@needed
def test_a_blank_disk_is_taken_and_a_file_gets_its_size(tmp_path: Path) -> None:
    disk = Disk("a", str(tmp_path / "block"), "", 4 << 20, "", "")
    start_osd.prepare(disk, "our own")
    assert (tmp_path / "block").stat().st_size == 4 << 20
    assert disk_contents.look(str(tmp_path / "block")).blank


@needed
def test_the_device_for_metadata_is_looked_at_too(tmp_path: Path) -> None:
    disk = Disk("a", str(blank(tmp_path / "disk")), "", 0, str(filled(tmp_path / "fast", "ext4")), "")
    with pytest.raises(start_osd.RefusedError, match="fast holds ext4"):
        start_osd.prepare(disk, "our own")


@needed
def test_what_our_own_interrupted_start_wrote_is_erased(tmp_path: Path, tools: Path) -> None:
    path = filled(tmp_path / "disk", "a BlueStore")
    label = {str(path): {"osd_uuid": "our own", "ceph_fsid": FSID}}
    tool(tools, "ceph-bluestore-tool", f"cat <<X\n{json.dumps(label)}\nX")
    disk = Disk("a", str(path), "", 0, "", "")
    with pytest.raises(start_osd.RefusedError):
        start_osd.prepare(disk, "of another one")
    start_osd.prepare(disk, "our own")
    assert not any(path.read_bytes())


def test_id_and_key_of_a_new_osd_survive_an_interruption(tmp_path: Path) -> None:
    first = start_osd.begun(tmp_path)
    assert start_osd.begun(tmp_path) == first
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o600
    kind, _, _, length = struct.unpack("<hIIh", base64.b64decode(first["key"])[:12])
    assert (kind, length) == (2, 32)


OURS = Label(FSID, "uuid", "3", finished=True)


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        (Contents(("ceph_bluestore",), OURS), True),
        (Contents(("ceph_bluestore",), OURS._replace(cluster=OTHER)), False),
        (Contents(("ceph_bluestore",), OURS._replace(finished=False)), False),
        (Contents(("ceph_bluestore",), OURS, in_use=True), False),
        (Contents(), False),
    ],
)
def test_only_a_finished_osd_of_this_cluster_is_used_as_it_is(found: Contents, ours: bool) -> None:
    assert start_osd.is_ours(found, ALONE) == ours


def test_a_disk_with_an_osd_of_another_cluster_names_it() -> None:
    found = Contents(("ceph_bluestore",), OURS._replace(cluster=OTHER))
    said = start_osd.refusal(Disk("a", "/dev/sdb", "", 0, "", ""), found)
    assert f"/dev/sdb holds a BlueStore of osd.3 of cluster {OTHER}" in said


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (None, "has no data of osd.3, which this container had: was the disk exchanged?"),
        (OURS, ""),
        (OURS._replace(cluster=OTHER), f"is of cluster {OTHER}"),
        (OURS._replace(number="4"), "has osd.4, and this container had osd.3"),
    ],
)
def test_an_osd_starts_on_its_own_disk_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: Label | None, said: str
) -> None:
    monkeypatch.setattr(start_osd, "read_label", lambda _path: label)
    disk = Disk("a", str(blank(tmp_path / "disk")), "", 0, "", "")
    found = start_osd.mismatch(ALONE, disk, 3)
    assert said in found
    assert bool(found) == bool(said)


def test_labels_and_signatures_are_read_from_the_tools_answers() -> None:
    answer = {
        "/dev/sdb": {
            "osd_uuid": "u", "size": 1, "description": "main", "ceph_fsid": FSID, "whoami": "3",
            "ready": "ready",
        }
    }  # fmt: skip
    assert disk_contents.parse_label(answer, "/dev/sdb") == Label(FSID, "u", "3", finished=True)
    del answer["/dev/sdb"]["ready"]
    assert not disk_contents.parse_label(answer, "/dev/sdb").finished
    wipefs = {"signatures": [{"type": "gpt", "offset": "0x200"}, {"type": "gpt"}, {"type": "PMBR"}]}
    assert disk_contents.parse_wipefs(json.dumps(wipefs)) == ("gpt", "PMBR")
    assert disk_contents.parse_wipefs("") == ()


@pytest.mark.parametrize(("names", "number"), [((), None), (("new", "monmap"), None), (("ceph-12",), 12)])
def test_the_number_of_an_osd_is_that_of_its_folder(tmp_path: Path, names: tuple[str, ...], number: int | None) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    assert osd_id(tmp_path) == number


def test_settings_are_read_with_and_without_a_disk(tmp_path: Path) -> None:
    data: dict[str, Any] = ALONE._asdict()
    del data["disk"]
    (tmp_path / "settings.json").write_text(json.dumps(data))
    assert load(tmp_path / "settings.json") == ALONE
    disk = Disk("a", "/dev/sdb", "ssd", 0, "", "")
    (tmp_path / "settings.json").write_text(json.dumps({**data, "disk": disk._asdict()}))
    assert load(tmp_path / "settings.json").disk == disk


# health and settling


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({"state": "leader"}, ""), ({"state": "peon"}, ""),
        ({"state": "probing", "quorum": []}, "is probing, not in the quorum []"),
        ({}, "is unknown, not in the quorum []"),
    ],
)  # fmt: skip
def test_a_monitor_is_well_in_the_quorum(status: dict[str, Any], problem: str) -> None:
    assert ceph_health.of_monitor(status) == problem


@pytest.mark.parametrize(("state", "well"), [("active", True), ("booting", False), ("preboot", False)])
def test_an_osd_is_well_when_it_takes_part(state: str, well: bool) -> None:
    assert (ceph_health.of_osd({"state": state}) == "") == well


def test_a_daemon_is_asked_on_its_socket(tmp_path: Path) -> None:
    asked: list[dict[str, str]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "ceph-mon.a.asok"))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(json.loads(connection.recv(1000).rstrip(b"\0")))
                text = json.dumps({"state": "leader"}).encode()
                connection.sendall(struct.pack(">I", len(text)) + text)

        thread = threading.Thread(target=answer)
        thread.start()
        assert ceph_socket.ask("mon.a", "mon_status", tmp_path) == {"state": "leader"}
        thread.join()
    assert asked == [{"prefix": "mon_status", "format": "json"}]
    with pytest.raises(ceph_socket.SilentError, match=r"ceph-mon\.b\.asok"):
        ceph_socket.ask("mon.b", "mon_status", tmp_path)


def cluster(osds: dict[str, int], required: str, done: list[str], clients: str = "reef") -> settle.Ask:
    """A cluster of which `done` becomes the commands that change it."""
    answers = {
        "mgr module ls --format json": {"enabled_modules": ["prometheus"], "always_on_modules": ["balancer"]},
        "status --format json": {"health": {"mutes": [{"code": c} for c in settle.EXPECTED]}},
        "versions --format json": {"osd": osds},
        "osd dump --format json": {"require_osd_release": required, "require_min_compat_client": clients},
        "config dump --format json": [
            {"section": "mgr", "name": "mgr/prometheus/server_addr", "value": "127.0.0.1", "level": "basic"},
        ],
    }

    def ask(*words: str) -> str:
        if (text := " ".join(words)) in answers:
            return json.dumps(answers[text])
        done.append(text)
        return ""

    return ask


V20, V19 = "ceph version 20.2.4 (7f79) tentacle (stable)", "ceph version 19.2.6 (aaaa) squid (stable)"


@pytest.mark.parametrize(
    ("osds", "required", "changes"),
    [
        ({V20: 3}, "squid", ["osd require-osd-release tentacle"]),
        ({V20: 3}, "tentacle", []),
        ({V20: 2, V19: 1}, "squid", []),
        ({}, "squid", []),
    ],
)
def test_the_release_of_osds_follows_when_all_run_it(osds: dict[str, int], required: str, changes: list[str]) -> None:
    done: list[str] = []
    assert settle.settle(cluster(osds, required, done)) == changes
    assert done == changes


@pytest.mark.parametrize(("clients", "changed"), [("luminous", True), ("reef", False), ("squid", False)])
def test_clients_are_new_enough_for_clones_that_can_be_deleted(clients: str, changed: bool) -> None:
    done: list[str] = []
    settle.settle(cluster({V20: 3}, "tentacle", done, clients))
    assert (done == ["osd set-require-min-compat-client reef"]) == changed


@pytest.mark.parametrize("on", [True, False])
def test_metrics_of_ceph_are_on_loopback_only(on: bool) -> None:
    """The manager's file has no say in its modules' options, and a module that runs has to start again."""
    done: list[str] = []
    ask = cluster({V20: 3}, "tentacle", done)
    others = {
        "config": [{"section": "mgr", "name": "mgr/prometheus/server_addr", "value": "::"}],
        "mgr": {"enabled_modules": ["prometheus"] if on else [], "always_on_modules": []},
    }

    def earlier(*words: str) -> str:
        return json.dumps(others[words[0]]) if words[1] in ("dump", "module") and words[-1] == "json" else ask(*words)

    settle.settle(lambda *words: earlier(*words) if words[0] in others else ask(*words))
    begun = ["mgr module disable prometheus"] if on else []
    assert done == [
        "config set mgr mgr/prometheus/server_addr 127.0.0.1", *begun, "mgr module enable prometheus"
    ]  # fmt: skip


def test_warnings_that_older_clients_cause_are_muted_and_those_of_daemons_are_not() -> None:
    done: list[str] = []
    ask = cluster({V20: 3}, "tentacle", done)

    def fresh(*words: str) -> str:
        return json.dumps({"health": {}}) if words[0] == "status" else ask(*words)

    settle.settle(fresh)
    assert done == [f"health mute {c} --sticky" for c in settle.EXPECTED]
    assert not any("SERVICE" in code for code in settle.EXPECTED)
