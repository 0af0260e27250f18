# SPDX-License-Identifier: Apache-2.0
"""Plain Ansible reads what `scs inventory sync` wrote: real `ansible-inventory` and `ansible` against a synced file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.engine import runner
from scs_deploy.environment.environment import load
from scs_deploy.inventory import synced
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.synced import Document
from tests.unit.secrets.test_secrets import SETTINGS

LINK = {"addresses": ("192.0.2.11/24",), "mtu": 9000}
HOSTS = {
    "control-1": Host.model_validate(
        {
            "name": "control-1", "address": "192.0.2.11", "groups": ("control",), "zone": "rack-1",
            "networks": {"management": {"interface": "eno1", "address": "192.0.2.11"}},
            "settings": {"nova_cpu_allocation_ratio": 4.0}, "links": {"eno1": LINK}, "oob": "198.51.100.11",
        }
    ),
    "compute-1": Host.model_validate(
        {
            "name": "compute-1", "address": "192.0.2.21", "groups": ("chassis", "compute"),
            "networks": {"management": {"interface": "eno1", "address": "192.0.2.21"}},
            "connection": {"ansible_port": 2222},
        }
    ),
}  # fmt: skip
GROUPS = {"control": ("control-1",), "compute": ("compute-1",), "chassis": ("compute-1",)}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A synced inventory in an environment."""
    folder = tmp_path / "test"
    folder.mkdir()
    settings = {**SETTINGS, "vault_password_file": "vault_password", "inventory": "inventory.yml"}
    (folder / "environment.yml").write_text(yaml.safe_dump({**settings, "ssh": {"user": "scs"}}), encoding="utf-8")
    synced.write(
        Document(source="https://netbox.example.com (fra1)", groups=GROUPS, hosts=HOSTS), folder / "inventory.yml"
    )
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    return folder / "inventory.yml"


def ansible(program: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """An Ansible program as an operator runs it in the project's folder."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(paths.root() / "ansible.cfg"), **more}
    environment["PYTHONPATH"] = str(paths.root())
    command = [str(Path(sys.executable).parent / program), *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120, check=False)


def listed(file: Path) -> dict[str, Any]:
    done = ansible("ansible-inventory", "-i", str(file), "--list")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_hosts_groups_and_variables(file: Path) -> None:
    found = listed(file)
    assert {g: tuple(found[g]["hosts"]) for g in GROUPS} == GROUPS
    control, compute = (found["_meta"]["hostvars"][name] for name in ("control-1", "compute-1"))
    assert control["ansible_host"] == "192.0.2.11"
    assert control["networks"] == {"management": {"address": "192.0.2.11", "interface": "eno1"}}
    assert control["nova_cpu_allocation_ratio"] == 4.0
    assert control["links"] == {"eno1": {"addresses": ["192.0.2.11/24"], "mtu": 9000}}
    assert (control["zone"], control["oob"]) == ("rack-1", "198.51.100.11")
    assert compute["ansible_port"] == 2222
    assert "links" not in compute


def test_hosts_are_reached_as_scs_reaches_them(file: Path) -> None:
    variables = listed(file)["_meta"]["hostvars"]["control-1"]
    environment = load("test")
    assert (variables["ansible_user"], variables["ansible_become"]) == ("scs", True)
    assert variables["ansible_ssh_private_key_file"] == str(environment.ssh_key)
    assert f"UserKnownHostsFile={environment.known_hosts} " in variables["ansible_ssh_common_args"]


def test_a_file_that_was_edited_by_hand_is_refused(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("192.0.2.21", "192.0.2.22"), encoding="utf-8")
    done = ansible("ansible-inventory", "-i", str(file), "--list")
    assert done.returncode != 0
    assert "edited by hand" in " ".join(done.stderr.split())


def test_a_template_in_a_value_of_the_source_is_not_evaluated(file: Path) -> None:
    host = HOSTS["control-1"].model_copy(update={"settings": {"note": "{{ lookup('pipe', 'id') }}"}})
    synced.write(Document(source="x", groups=GROUPS, hosts={**HOSTS, "control-1": host}), file)
    assert listed(file)["_meta"]["hostvars"]["control-1"]["note"] == {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}
    done = ansible(
        "ansible", "-i", str(file), "control-1", "-c", "local", "-m", "ansible.builtin.debug", "-a", "var=note"
    )
    assert "uid=" not in done.stdout


def test_a_plain_inventory_is_left_to_ansible(tmp_path: Path) -> None:
    plain = tmp_path / "hosts.yml"
    plain.write_text("all: {hosts: {host-1: {ansible_host: 192.0.2.1}}}\n", encoding="utf-8")
    assert listed(plain)["_meta"]["hostvars"]["host-1"] == {"ansible_host": "192.0.2.1"}


def test_a_playbook_of_scs_runs_on_a_synced_inventory(file: Path) -> None:
    task = {"name": "Tell", "ansible.builtin.debug": {"msg": "{{ zone }} {{ networks.management.address }}"}}
    play = {"name": "Tell", "hosts": "control-1", "gather_facts": False, "tasks": [task]}
    result = runner.run_playbook(load("test"), [play], keep_results=True)
    assert result.ok, result
    assert result.results["control-1"]["msg"] == "rack-1 192.0.2.11"


def test_the_plugin_is_documented() -> None:
    done = ansible("ansible-doc", "-t", "inventory", "scs.core.region")
    assert done.returncode == 0, done.stderr
    assert "ansible-inventory -i environments/region/inventory.yml --graph" in done.stdout
