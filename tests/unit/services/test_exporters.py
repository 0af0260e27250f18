# SPDX-License-Identifier: Apache-2.0
"""Exporters of scs show what the real programs beside them do, and 0 of what does not answer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Wanted
from tests.support.images import needs

SCRIPTS = Path(__file__).with_name("exporters")
LIBVIRT, MEMCACHED, OVN, PLACEMENT = (f"scs/{name}:2025.1" for name in ("libvirt", "memcached", "ovn", "placement"))

Shown = dict[str, dict[str, float]]
"""moment: {name and labels: value}."""


def run(name: str, image: str, folder: Path, *options: str) -> Shown:
    """What a script shows in a container of the image, with the exporter in /exporters and the folder in /test."""
    exporters = folder / "exporters"
    exporters.mkdir()
    layer = paths.layer("operations")
    for file in (layer / "files" / "exposition.py", *(layer / "services" / f"{name}_exporter" / "files").glob("*.py")):
        shutil.copy(file, exporters)
    (exporters / "users").write_text("scs:secret\n")
    shutil.copy(SCRIPTS / f"{name}.sh", folder / "run.sh")
    folder.chmod(0o755)
    command = [
        "docker", "run", "--rm", "--network=none", *options, f"--volume={exporters}:/exporters:ro",
        f"--volume={folder}:/test:ro", image, "/test/run.sh",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: Shown = {}
    for line in done.stdout.splitlines():
        if line.startswith("== "):
            moment = found.setdefault(line[3:], {})
        elif line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            moment[series.replace("{}", "")] = float(value)
    return found


@needs(OVN)
def test_ovn_and_open_vswitch(tmp_path: Path) -> None:
    # as in the region: without any capability
    found = run("ovn", OVN, tmp_path, "--cap-drop=ALL", *(f"--tmpfs=/{d}" for d in ("run/ovn", "run/openvswitch")))
    nothing, everything, less = found["nothing"], found["all"], found["less"]
    assert set(nothing.values()) == {0.0}, "what does not answer is 0, not absent"
    for database in ("OVN_Northbound", "OVN_Southbound"):
        of = f'{{database="{database}"}}'
        assert nothing[f"ovn_raft_has_leader{of}"] == 0
        assert everything[f"ovn_raft_has_leader{of}"] == everything[f"ovn_raft_leader{of}"] == 1
        assert everything[f"ovn_raft_servers{of}"] == everything[f"ovn_raft_connected{of}"] == 1
        assert everything[f"ovn_raft_term{of}"] == 1
        assert everything[f"ovn_raft_log_index{of}"] > 1
        assert everything[f"ovn_northd_connected{of}"] == 1
    assert everything["ovn_northd_active"] == everything["ovn_controller_connected"] == 1
    assert everything['ovs_up{process="ovs-vswitchd"}'] == everything['ovs_up{process="ovsdb-server"}'] == 1
    assert (everything["ovs_bridges"], everything["ovs_ports"]) == (1, 2)
    assert less["ovn_northd_active"] == 0
    assert less['ovn_raft_has_leader{database="OVN_Southbound"}'] == 0
    assert less['ovn_raft_has_leader{database="OVN_Northbound"}'] == 1


THREE = """aaaa
Name: OVN_Northbound
Cluster ID: d898 (d8981604-9f5f-45ca-b6d2-63498e92e53b)
Server ID: aaaa (cdac65d8-61d5-4a7e-a778-dc9d5b606ef3)
Address: ssl:192.0.2.1:6643
Status: cluster member
Role: follower
Term: 7
Leader: bbbb
Vote: bbbb

Election timer: 4000
Log: [2, 570]
Entries not yet committed: 1
Entries not yet applied: 0
Connections: ->bbbb <-bbbb (->cccc)
Disconnections: 3
Servers:
    cccc (cccc at ssl:192.0.2.3:6643)
    aaaa (aaaa at ssl:192.0.2.1:6643) (self)
    bbbb (bbbb at ssl:192.0.2.2:6643) last msg 1023 ms ago
"""


def test_a_follower_whose_other_peer_is_gone() -> None:
    """`cluster/status` in the form of ovsdb-server(1): a connection that failed is in brackets."""
    import importlib.util

    file = paths.layer("operations") / "services" / "ovn_exporter" / "files" / "ovn_exporter.py"
    spec = importlib.util.spec_from_file_location("ovn_exporter", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {name: value for name, _, value in module.raft("OVN_Northbound", THREE)}
    assert found == {
        "ovn_raft_has_leader": 1, "ovn_raft_leader": 0, "ovn_raft_term": 7, "ovn_raft_log_index": 570,
        "ovn_raft_uncommitted": 1, "ovn_raft_connected": 2, "ovn_raft_servers": 3,
    }  # fmt: skip
    lost = THREE.replace("Leader: bbbb", "Leader: unknown").replace("->bbbb <-bbbb", "(->bbbb)")
    found = {name: value for name, _, value in module.raft("OVN_Northbound", lost)}
    assert (found["ovn_raft_has_leader"], found["ovn_raft_connected"]) == (0, 1)


@needs(LIBVIRT)
def test_guests(tmp_path: Path) -> None:
    found = run("libvirt", LIBVIRT, tmp_path)
    running, paused, failed = found["running"], found["paused"], found["ioerror"]
    assert running['libvirt_guests{state="running"}'] == 1
    assert (running["libvirt_guests_memory_bytes"], running["libvirt_guests_vcpus"]) == (64 << 20, 2)
    assert paused['libvirt_guests{state="running"}'] == 0
    assert paused['libvirt_guests{state="paused"}'] == 1
    assert (paused["libvirt_guests_failed_io"], failed["libvirt_guests_failed_io"]) == (0, 1)
    assert (paused["libvirt_guests_unreadable"], failed["libvirt_guests_unreadable"]) == (0, 1)


@needs(MEMCACHED)
def test_memcached(tmp_path: Path) -> None:
    ca = issuing.new_ca("test")
    leaf = issuing.issue(ca, Wanted(names=("127.0.0.1",)))
    for name, text in (("ca.crt", ca.cert), ("host.crt", leaf.cert), ("host.key", leaf.key)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    found = run("memcached", MEMCACHED, tmp_path, "--tmpfs=/etc/scs")
    assert found["nothing"] == found["refused"] == {"memcached_up": 0}
    told = found["all"]
    assert told["memcached_up"] == 1
    assert told["memcached_connections_max"] == 200
    assert told["memcached_bytes_max"] == 8 << 20
    assert told["memcached_evictions_total"] > 10
    assert told["memcached_sets_total"] >= 40
    assert (told["memcached_hits_total"], told["memcached_misses_total"]) == (1, 1)


@needs(PLACEMENT)
def test_capacity(tmp_path: Path) -> None:
    found = run("openstack", PLACEMENT, tmp_path)
    nothing, everything = found["nothing"], found["all"]
    assert nothing.pop("openstack_exporter_look_seconds") >= 0
    assert nothing == {"openstack_exporter_up": 0}, "no Keystone: an answer without old numbers"
    assert everything["openstack_exporter_up"] == 1
    for name, vcpus, memory in (("capacity", 24, 16000 - 512), ("used", 6, 4096)):
        of = f'openstack_hypervisor_{name}{{hypervisor="compute-1",resource='
        assert (everything[f'{of}"VCPU"}}'], everything[f'{of}"MEMORY_MB"}}']) == (vcpus, memory)


@pytest.mark.parametrize("name", ["memcached", "ovn", "libvirt", "openstack"])
def test_it_starts_as_its_image_runs_it(name: str) -> None:
    file = paths.layer("operations") / "services" / f"{name}_exporter" / "files" / f"{name}_exporter.py"
    assert file.read_text().startswith("#!/usr/bin/python3 -S\n")
