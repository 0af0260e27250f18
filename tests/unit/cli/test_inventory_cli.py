# SPDX-License-Identifier: Apache-2.0
"""`scs inventory`, `scs plan --offline` and the records of runs, as an operator uses them: real processes."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.desired import digest
from scs_deploy.inventory import synced
from scs_deploy.region.selection import Selection
from scs_deploy.state import schema
from scs_deploy.state.runs import RunStore
from tests.conftest import dummy_region
from tests.netbox.replay import Behaviour, Replay
from tests.netbox.site import ADDRESSES, INTERFACES, edit, prepare

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]


def scs(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command."""
    variables = {**os.environ, "SCS_ENVIRONMENTS": str(folder), "SCS_ENVIRONMENT": "small"}
    return subprocess.run([*SCS, *arguments], env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The small site's environment, with a server that is up."""
    with Replay() as server:
        prepare(tmp_path, url=server.url)
        yield tmp_path


def test_sync_writes_shows_and_names_the_hash(folder: Path) -> None:
    done = scs(folder, "inventory", "sync")
    assert done.returncode == 0, done.stderr
    document = synced.load(folder / "small" / "inventory.yml")
    assert document.hash in done.stdout
    assert "+ testbed-node-0" in done.stdout
    assert "mariadb" in done.stdout
    assert "1 by status planned" in done.stdout
    again = scs(folder, "inventory", "sync")
    assert again.returncode == 0
    assert "no differences" in again.stdout
    assert "unchanged: " in again.stdout


def test_diff_shows_what_moved_and_writes_nothing(tmp_path: Path) -> None:
    with Replay() as server:
        prepare(tmp_path, url=server.url)
        assert scs(tmp_path, "inventory", "sync").returncode == 0
    before = (tmp_path / "small" / "inventory.yml").read_bytes()
    move = edit(ADDRESSES, {"address": "192.168.48.11/20"}, lambda o: o.update(address="192.168.48.111/20"))
    with Replay(Behaviour(change=move)) as server:
        prepare(tmp_path, url=server.url)
        seen = scs(tmp_path, "inventory", "diff", "--exit-code")
        data = json.loads(scs(tmp_path, "inventory", "diff", "--json").stdout)
    assert seen.returncode == 3, seen.stderr
    assert "~ testbed-node-1" in seen.stdout
    assert "network tunnel: address: 192.168.48.11 -> 192.168.48.111" in seen.stdout
    assert [h["host"] for h in data["diff"]["hosts"]] == ["testbed-node-1"]
    assert (tmp_path / "small" / "inventory.yml").read_bytes() == before


def test_a_sync_that_is_killed_leaves_the_old_inventory_or_the_new_one(tmp_path: Path) -> None:
    """SIGKILL while it reads a slow NetBox, resolves, compares, writes; the next sync does what this one did not."""
    with Replay() as server:
        prepare(tmp_path, url=server.url)
        assert scs(tmp_path, "inventory", "sync").returncode == 0
    file = tmp_path / "small" / "inventory.yml"
    old = synced.load(file).hash
    move = edit(ADDRESSES, {"address": "192.168.48.11/20"}, lambda o: o.update(address="192.168.48.111/20"))
    variables = {**os.environ, "SCS_ENVIRONMENTS": str(tmp_path), "SCS_ENVIRONMENT": "small"}
    with Replay(Behaviour(change=move, delay=0.1)) as server:
        prepare(tmp_path, url=server.url)
        for requests in (0, 1, 3, 6, 10):
            seen = len(server.requests)
            process = subprocess.Popen([*SCS, "inventory", "sync"], env=variables, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 30
            while len(server.requests) < seen + requests and time.monotonic() < deadline:
                time.sleep(0.005)
            process.kill()
            process.wait()
            assert len(server.requests) >= seen + requests
            assert synced.load(file).hosts
        new = json.loads(scs(tmp_path, "inventory", "sync", "--json").stdout)["hash"]
    assert synced.load(file).hash == new != old


def test_problems_are_all_told_with_exit_code_2_and_without_a_traceback(tmp_path: Path) -> None:
    bad = edit(INTERFACES, {"name": "bond0.48"}, lambda o: o.update(mtu=9216))
    with Replay(Behaviour(change=bad)) as server:
        prepare(tmp_path, url=server.url)
        done = scs(tmp_path, "inventory", "sync")
    assert done.returncode == 2
    assert "4 problems, nothing was written" in done.stderr
    for host in ("testbed-manager", "testbed-node-0", "testbed-node-1", "testbed-node-2"):
        assert f"  {host}: links.bond0.48.mtu: 9216 is larger than the 9100 of its parent bond0" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "small" / "inventory.yml").exists()


def test_no_token_appears_anywhere(folder: Path) -> None:
    token = (folder / "small" / "token").read_text()
    done = scs(folder, "inventory", "sync", "--json")
    assert done.returncode == 0
    written = (folder / "small" / "inventory.yml").read_text()
    assert token not in done.stdout + done.stderr + written


def test_show_graph_and_check_work_on_the_synced_inventory(folder: Path) -> None:
    assert scs(folder, "inventory", "sync").returncode == 0
    host = json.loads(scs(folder, "inventory", "show", "testbed-node-0").stdout)
    assert host["links"]["bond0.32"]["vlan"] == 32
    assert "testbed-node-2" in scs(folder, "inventory", "graph").stdout
    picture = folder / "region.svg"
    assert scs(folder, "inventory", "graph", "--svg", str(picture)).returncode == 0
    assert ET.parse(picture).getroot().tag.endswith("svg")
    checked = json.loads(scs(folder, "inventory", "check", "--json").stdout)
    assert checked == {"hash": synced.load(folder / "small" / "inventory.yml").hash, "hosts": 4, "problems": []}


def test_check_tells_what_is_wrong_with_the_inventory_in_use(folder: Path) -> None:
    assert scs(folder, "inventory", "sync").returncode == 0
    file = folder / "small" / "environment.yml"
    file.write_text(
        file.read_text().replace("tunnel: {cidr: 192.168.48.0/20, mtu: 9100}", "tunnel: {cidr: 10.0.0.0/8}")
    )
    done = scs(folder, "inventory", "check")
    assert done.returncode == 2
    assert "testbed-node-1: networks.tunnel.address 192.168.48.11 is outside 10.0.0.0/8" in done.stderr


def test_before_the_first_sync_a_plan_says_what_to_do(folder: Path) -> None:
    done = scs(folder, "plan")
    assert done.returncode == 2
    assert "inventory.yml does not exist (scs inventory sync)" in done.stderr


def test_a_plan_offline_needs_no_host_and_names_the_inventory(folder: Path) -> None:
    assert scs(folder, "inventory", "sync").returncode == 0
    target = folder / "small"
    (target / "vault_password").write_text("test only\n")
    assert scs(folder, "secrets", "init").returncode == 0
    names = yaml.safe_load((paths.root() / "releases" / "2025.1.yml").read_text())["images"]
    images = {n: {"reference": f"scs/{n}", "digest": f"sha256:{i:064x}", "size": 1} for i, n in enumerate(names)}
    (target / "release.lock.yml").write_text(yaml.safe_dump({"release": "2025.1", "images": images}))
    first = scs(folder, "plan", "--offline", "--json")
    assert first.returncode == 0, first.stderr
    data = json.loads(first.stdout)
    assert data["inventory"] == synced.load(target / "inventory.yml").hash
    assert [h["host"] for h in data["hosts"]] == [
        "testbed-manager", "testbed-node-0", "testbed-node-1", "testbed-node-2",
    ]  # fmt: skip
    # its site has the manager in group monitoring
    monitoring = {
        "alertmanager", "prometheus", "metrics_ingress", "node_exporter", "openstack_exporter", "victorialogs",
        "log_ingress", "log_shipper",
    }  # fmt: skip
    assert data["hosts"][0]["containers"].keys() == monitoring
    assert "nova_compute" in data["hosts"][1]["containers"]
    refused = scs(folder, "plan", "--offline", "--exit-code")
    assert refused.returncode == 2


def test_offline_rendering_of_a_setting_touches_the_files_that_use_it() -> None:
    """Two sums tell which files a change of a variable is about."""
    region = dummy_region("region")
    host = region.inventory.hosts["compute-1"]
    before = digest.render(region, Selection(hosts=("compute-1",)))[0]
    changed = host.model_copy(update={"settings": {**host.settings, "nova_virt_type": "qemu"}})
    hosts = {**region.inventory.hosts, "compute-1": changed}
    region = dataclasses.replace(region, inventory=region.inventory.model_copy(update={"hosts": hosts}))
    after = digest.render(region, Selection(hosts=("compute-1",)))[0]
    assert {p for p in before.files if before.files[p] != after.files[p]} == {"/etc/scs/nova_compute/nova.conf"}
    assert before.hash != after.hash


def test_a_record_names_the_inventory(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.sqlite3")
    run = store.start("scs apply", inventory="sha256:1234").id
    assert store.get(run).inventory == "sha256:1234"


def test_records_of_an_older_release_are_read_and_added_to(tmp_path: Path) -> None:
    """Their table has no such column yet, nor later ones."""
    file = tmp_path / "runs.sqlite3"
    with sqlite3.connect(file) as database:
        for step in schema.STEPS[:2]:
            database.executescript(step)
        database.execute("PRAGMA user_version = 2")
        database.execute(
            "INSERT INTO runs (id, command, owner, host, pid, started, status, changes_total, changes_done, inputs, "
            "message) VALUES ('0', 'scs apply old', 'me', 'here', 1, '2026-01-01T00:00:00+00:00', 'done', 0, 0, '', '')"
        )
    store = RunStore(file)
    store.start("scs apply new", inventory="sha256:1")
    assert [(r.command, r.inventory) for r in store.list()] == [("scs apply new", "sha256:1"), ("scs apply old", "")]
