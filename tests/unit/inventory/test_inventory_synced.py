# SPDX-License-Identifier: Apache-2.0
"""The synced file: pinned by its hash, replaced atomically, and the same model as Ansible inventories."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import refresh, source, synced
from scs_deploy.inventory.checks import Known, ProblemsError
from scs_deploy.inventory.model import grouped
from scs_deploy.spec.catalog import load as load_catalog
from scs_deploy.state.lock import RunLock
from tests.netbox.replay import Behaviour, Replay
from tests.netbox.site import ADDRESSES, edit, prepare

GOLDEN = Path(__file__).parents[2] / "golden" / "netbox" / "small.yml"


def quiet(_done: int, _total: int) -> None:
    """No progress."""


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The small site, synced."""
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    with Replay() as server:
        found = prepare(tmp_path, url=server.url)
        refresh.sync("small", "netbox", quiet)
    return found


def known() -> Known:
    return source.variables(load_catalog())


def test_a_written_file_reads_back_unchanged(region: Environment) -> None:
    document = synced.load(region.inventory)
    assert synced.dump(document) == region.inventory.read_text(encoding="utf-8")
    inventory = source.load(region, known())
    assert inventory.hash == document.hash
    assert inventory.hosts["testbed-node-0"].links["bond0.48"].mtu == 9100


def test_the_header_comes_first_and_names_source_version_change_and_hash() -> None:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert [line.partition(":")[0] for line in lines[2:6]] == ["source", "version", "changed", "hash"]


def test_a_second_sync_changes_nothing(region: Environment) -> None:
    before = region.inventory.stat()
    with Replay() as server:
        prepare(region.path.parent, url=server.url)
        # the source is named in the file: the server's port differs between runs
        found = refresh.compare("small", "netbox", quiet)
    assert found.diff.empty
    assert found.document.hash == synced.load(region.inventory).hash
    assert region.inventory.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(("old", "new"), [("mtu: 9100", "mtu: 9000"), ("192.168.16.11", "192.168.16.99")])
def test_a_file_edited_by_hand_is_refused(region: Environment, old: str, new: str) -> None:
    text = region.inventory.read_text(encoding="utf-8")
    region.inventory.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RefusedError, match=r"the hash does not match the content.*scs inventory sync"):
        source.load(region, known())


def test_a_later_change_of_environment_yml_is_checked_against_the_hosts(region: Environment) -> None:
    region.file.write_text(region.file.read_text().replace("cidr: 192.168.48.0/20", "cidr: 192.168.49.0/24"))
    from scs_deploy.environment import environment

    with pytest.raises(
        ProblemsError, match=r"networks\.tunnel\.address 192\.168\.48\.10 is outside 192\.168\.49\.0/24"
    ):
        source.load(environment.load("small"), known())


def test_a_hand_written_inventory_is_not_replaced(region: Environment) -> None:
    region.inventory.write_text("all:\n  hosts:\n    one:\n")
    with Replay() as server:
        prepare(region.path.parent, url=server.url)
        with pytest.raises(RefusedError, match="is a hand-written inventory, and sync would replace it"):
            refresh.sync("small", "netbox", quiet)
    assert region.inventory.read_text() == "all:\n  hosts:\n    one:\n"


def test_the_inventory_cannot_be_synced_during_a_run(region: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run holds the lock, sync writes nothing. A play that finds a changed inventory stops."""
    from scs_deploy.region.region import INVENTORY, shared_region

    move = edit(ADDRESSES, {"address": "192.168.48.11/20"}, lambda o: o.update(address="192.168.48.111/20"))
    before = region.inventory.read_bytes()
    with Replay(Behaviour(change=move)) as server:
        prepare(region.path.parent, url=server.url)
        with (
            RunLock(region.state / "lock", "scs apply"),
            pytest.raises(RefusedError, match="scs apply"),
        ):
            refresh.sync("small", "netbox", quiet)
        assert region.inventory.read_bytes() == before
        planned = source.load(region, known()).hash
        assert refresh.sync("small", "netbox", quiet).written
    monkeypatch.setenv(INVENTORY, planned)
    monkeypatch.setattr("scs_deploy.region.region._shared", {})
    with pytest.raises(RefusedError, match=r"inventory.yml: changed during the run"):
        shared_region("small")
    monkeypatch.setenv(INVENTORY, source.load(region, known()).hash)
    assert shared_region("small").inventory.hosts


def test_sync_notes_that_runs_still_use_another_inventory(region: Environment) -> None:
    region.file.write_text(region.file.read_text().replace("inventory: inventory.yml", "inventory: hosts.yml"))
    with Replay() as server:
        prepare(region.path.parent, url=server.url)
        found = refresh.sync("small", "netbox", quiet)
    assert "set `inventory: inventory.yml`" in found.note


def test_odd_values_survive_and_the_file_passes_yamllint(tmp_path: Path) -> None:
    """Nested lists, multi-line strings with dashes and colons, and empty values, generated from a fixed seed."""
    choose = random.Random(1)

    def value(depth: int = 0) -> Any:
        kind = choose.randrange(8 if depth < 4 else 5)
        if kind < 4:
            return (choose.randrange(-5, 99999), choose.random(), None, choose.choice([True, False]))[kind]
        if kind == 4:
            return "".join(choose.choice("ab:- #'\"\\\nü{}[],&*!|>%@`0") for _ in range(choose.randrange(0, 160)))
        if kind < 7:
            return {f"{choose.choice('ab- :')}{i}": value(depth + 1) for i in range(choose.randrange(4))}
        return [value(depth + 1) for _ in range(choose.randrange(5))]

    file = tmp_path / "inventory.yml"
    host = synced.load(GOLDEN).hosts["testbed-node-0"]
    for _ in range(60):
        odd = grouped({host.name: host.model_copy(update={"settings": {f"k{i}": value() for i in range(5)}})})
        synced.write(synced.document("test", odd), file)
        assert synced.load(file).hosts == odd.hosts
    lint = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", str(GOLDEN)], capture_output=True, text=True, check=False
    )
    assert lint.stdout == ""


def test_a_process_killed_while_writing_leaves_a_complete_file(tmp_path: Path) -> None:
    """Kill a process at random moments while it keeps replacing the file with one of two inventories."""
    file = tmp_path / "inventory.yml"
    one = synced.load(GOLDEN)
    two = one.model_copy(update={"hosts": {k: v for k, v in one.hosts.items() if k != "testbed-manager"}})
    synced.write(one, file)
    program = (
        "import sys; from pathlib import Path; from scs_deploy.inventory import synced\n"
        "one = synced.load(Path(sys.argv[1])); file = Path(sys.argv[2])\n"
        "two = one.model_copy(update={'hosts': {k: v for k, v in one.hosts.items() if k != 'testbed-manager'}})\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    synced.write(two, file); synced.write(one, file)\n"
    )
    valid = {synced.hash_of(one), synced.hash_of(two)}
    choose = random.Random(4)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", program, str(GOLDEN), str(file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(5):
            time.sleep(choose.uniform(0.001, 0.02))
            assert synced.load(file).hash in valid
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert synced.load(file).hash in valid


def test_an_ansible_inventory_can_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--from PATH: the same hosts, groups and settings as the Ansible inventory, pinned by a hash."""
    from scs_deploy.environment import environment

    shipped = environment.load("region")
    plain = source.load(shipped, known())
    target = tmp_path / "region"
    target.mkdir()
    text = shipped.file.read_text(encoding="utf-8").replace("../../inventories/region", "inventory.yml")
    (target / "environment.yml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    done = refresh.sync("region", str(shipped.inventory), quiet)
    assert done.written
    taken = source.load(environment.load("region"), known())
    assert taken.hosts == plain.hosts
    assert taken.groups == plain.groups
    assert taken.hash == plain.hash


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ("links: {bond0: {kind: bond, members: [eno9]}}", "links.bond0.members: no link 'eno9'"),
        ("links: {bond0: {mtu: ninethousand}}", "control-1.yml:5: links.bond0.mtu"),
        ("disks: [{device: sdb}]", "control-1.yml:5: disks.0.device"),
        ("oob: nowhere", "control-1.yml:5: oob"),
    ],
)
def test_links_zone_disks_and_oob_of_an_ansible_inventory_pass_the_same_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: str, said: str
) -> None:
    import shutil

    from scs_deploy.base import paths
    from scs_deploy.environment import environment

    shutil.copytree(paths.root() / "inventories" / "region", tmp_path / "region" / "inventory")
    text = (paths.root() / "environments" / "region" / "environment.yml").read_text(encoding="utf-8")
    (tmp_path / "region" / "environment.yml").write_text(text.replace("../../inventories/region", "inventory"))
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    file = tmp_path / "region" / "inventory" / "host_vars" / "control-1.yml"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], *lines[2:5], variables]) + "\n")
    with pytest.raises(RefusedError) as error:
        source.load(environment.load("region"), known())
    assert said.replace(":5:", f":{len(lines) + 1}:") in str(error.value)


def test_links_of_an_ansible_inventory_are_in_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from scs_deploy.base import paths
    from scs_deploy.environment import environment

    shutil.copytree(paths.root() / "inventories" / "region", tmp_path / "region" / "inventory")
    text = (paths.root() / "environments" / "region" / "environment.yml").read_text(encoding="utf-8")
    (tmp_path / "region" / "environment.yml").write_text(text.replace("../../inventories/region", "inventory"))
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    with (tmp_path / "region" / "inventory" / "host_vars" / "control-1.yml").open("a") as file:
        file.write(
            "zone: a\noob: 10.9.0.1\ndisks: [{device: /dev/sdb, device_class: hdd}]\n"
            "links:\n  eno1: {}\n  bond0: {kind: bond, members: [eno1], addresses: [10.10.0.11/24]}\n"
            "  bond0.20: {kind: vlan, parent: bond0, vlan: 20, addresses: [192.0.2.11/24]}\n"
        )
    host = source.load(environment.load("region"), known()).hosts["control-1"]
    assert (host.zone, str(host.oob), host.disks[0].device_class) == ("a", "10.9.0.1", "hdd")
    assert host.links["bond0"].members == ("eno1",)
    assert "links" not in host.settings
