# SPDX-License-Identifier: Apache-2.0
"""Ansible inventories are read completely or refused with file and line: nothing shrinks a region silently."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import environment as environments
from scs_deploy.inventory import source
from scs_deploy.inventory.model import Inventory
from scs_deploy.spec.catalog import load as load_catalog

PASSWORD = "the region's own"


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an environment's inventory: the shipped region's."""
    shutil.copytree(paths.root() / "inventories" / "region", tmp_path / "region" / "inventory")
    text = (paths.root() / "environments" / "region" / "environment.yml").read_text(encoding="utf-8")
    text = re.sub("vault_password_command:.*", "vault_password_file: vault_password", text)
    (tmp_path / "region" / "environment.yml").write_text(text.replace("../../inventories/region", "inventory"))
    (tmp_path / "region" / "vault_password").write_text(PASSWORD)
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    return tmp_path / "region" / "inventory"


def load() -> Inventory:
    return source.load(environments.load("region"), source.variables(load_catalog()))


def refusal() -> str:
    with pytest.raises(RefusedError) as error:
        load()
    assert "\n" not in str(error.value)
    return str(error.value)


def encrypt(text: str, password: str) -> str:
    from ansible.parsing.vault import VaultLib, VaultSecret

    secret = VaultSecret(password.encode())
    return str(VaultLib([("default", secret)]).encrypt(text, secret).decode())


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        ("more.yml", "all:\n  hosts:\n\tx:\n", 3, "found character that cannot start any token"),
        ("more.yml", "all:\n  hosts:\n    x:\n    12:\n", 4, "host name 12 is not a string"),
        ("more.yml", "all:\n  children:\n    7: {hosts: {x: }}\n", 3, "group name 7 is not a string"),
        ("more.yml", "all:\n  hosts:\n    x: {a: 1}\n    x: {b: 1}\n", 4, "duplicate key 'x', first set in line 3"),
        ("more.yml", "all:\n  host:\n    x:\n", 1, "unexpected key (host) in group (all)"),
        ("more.yml", "control: [x]\n", 1, "not a valid group definition"),
        ("more.yml", "[control]\nx\n", 2, ""),
        ("more", "[contr ol]\nx\n", 1, "Invalid section entry"),
        ("group_vars/all.yml", "nova_cpu_mode: a\nnova_cpu_mode: b\n", 2, "duplicate key 'nova_cpu_mode'"),
        ("host_vars/compute-1.yml", "networks: {a: [}\n", 1, "did not find expected node content"),
        ("host_vars/compute-1/own.yml", "nova_cpu_mode: custom\nnova_cpu_models:\n  - '{{ nope }}'\n", 3, "nope"),
        ("group_vars/all.yml", "ovn_tunnel_network: tunnel\noob: '{{ nodeip }}'\n", 2, "'nodeip' is undefined"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_read_completely_is_refused(
    inventory: Path, file: str, text: str, line: int, said: str
) -> None:
    (inventory / file).parent.mkdir(exist_ok=True)
    (inventory / file).write_text(text)
    message = refusal()
    assert message.startswith((f"{inventory / file}:{line}: ", f"{inventory / file}: ")), message
    assert said in message
    if said:
        assert message.startswith(f"{inventory / file}:"), message


def test_a_file_that_ansible_skips_for_its_suffix_is_refused(inventory: Path) -> None:
    (inventory / "more.ini").write_text("[compute]\ncompute-9\n")
    assert refusal().startswith(f"{inventory / 'more.ini'}: Ansible skips files with the suffix .ini")


@pytest.mark.parametrize("name", ["hosts.yml~", ".hosts.yml.swp", "hosts.yml.orig", "README.md"])
def test_editors_files_and_documents_are_no_inventory(inventory: Path, name: str) -> None:
    before = load().hash
    (inventory / name).write_text("all: [\n")
    assert load().hash == before


def test_values_encrypted_with_the_regions_password_are_read(inventory: Path) -> None:
    value = encrypt("q35-secret", PASSWORD).replace("\n", "\n  ").rstrip()
    (inventory / "group_vars" / "control.yml").write_text(f"nova_machine_type: !vault |\n  {value}\n")
    (inventory / "group_vars" / "network").mkdir()
    (inventory / "group_vars" / "network" / "own.yml").write_text(encrypt("nova_machine_type: pc\n", PASSWORD))
    hosts = load().hosts
    assert hosts["control-1"].settings["nova_machine_type"] == "q35-secret"
    assert hosts["network-1"].settings["nova_machine_type"] == "pc"
    assert json.dumps(hosts["control-1"].settings["nova_machine_type"]) == '"q35-secret"'


def test_a_value_encrypted_with_another_password_is_refused_with_its_place(inventory: Path) -> None:
    value = encrypt("secret", "another").replace("\n", "\n  ").rstrip()
    file = inventory / "group_vars" / "control.yml"
    file.write_text(f"---\nnova_machine_type: !vault |\n  {value}\n")
    message = refusal()
    assert message.startswith(f"{file}:2: nova_machine_type: ")
    assert "ansible-vault encrypt_string" in message
    (inventory.parent / "vault_password").unlink()
    message = refusal()
    assert message.startswith(f"{file}:3: is encrypted with ansible-vault, and ")


def test_inventory_check_says_only_the_problem(inventory: Path) -> None:
    file = inventory / "host_vars" / "control-1.yml"
    file.write_text(file.read_text() + "links:\n  eno1: {}\n  bond0: {kind: bond, members: [eno9]}\n")
    code = "from scs_deploy.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "inventory", "check", "--environment", "region"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no link 'eno9'" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("node1.dc1.example.com", "contains a dot, and RabbitMQ's node names cannot; use the short name node1"),
        ("localhost", "is a reserved name"),
        ("ungrouped", "is a reserved name"),
        ("IP6-loopback", "is a reserved name"),
        ("control", "is also the name of a group"),
        ("10.0.0.5", "is an address, not a host name"),
        ("2001-db8_1", "is not a valid host name"),
        ("4711", "consists of digits only"),
        ("api-internal.region.example.org", "contains a dot"),
    ],
)
def test_a_name_that_breaks_a_service_or_ansible_is_refused(inventory: Path, name: str, said: str) -> None:
    file = inventory / "hosts.yml"
    file.write_text(file.read_text().replace("compute-4:", f'"{name}":'))
    (inventory / "host_vars" / "compute-4.yml").rename(inventory / "host_vars" / f"{name}.yml")
    line = file.read_text().splitlines().index(f'        "{name}":') + 1
    assert refusal().startswith(f"{file}:{line}: host {name} {said}")


def test_the_name_of_an_api_address_is_no_host_name(inventory: Path) -> None:
    settings = inventory.parent / "environment.yml"
    settings.write_text(settings.read_text().replace("name: internal.region.example.com", "name: COMPUTE-4"))
    assert "host compute-4 is also the name of an API address" in refusal()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('glance_workers: "two"', "glance_workers is 'two', not a whole number"),
        ("keepalived_router_id_internal: 300", "keepalived_router_id_internal is 300, but must be 1 to 255"),
        ("nova_virt_type: KVM", "nova_virt_type is 'KVM', but must be one of kvm, qemu; did you mean kvm?"),
        ("rabbitmq_log_level:", "rabbitmq_log_level has no value"),
        ("glance_workers: \"{{ 1 + 'x' | length - 2 }}\"", "glance_workers is 0, but must be 1 to 256"),
        ("container_engine_log_files: many", "container_engine_log_files is 'many', not a whole number"),
    ],
)
def test_a_settings_wrong_value_is_refused_with_its_place(inventory: Path, text: str, said: str) -> None:
    file = inventory / "group_vars" / "all.yml"
    file.write_text(f"---\novn_tunnel_network: tunnel\n{text}\n")
    (inventory / "group_vars" / "compute.yml").unlink()
    assert refusal().startswith(f"{file}:3: {said}")


INSIDE = """
import json, sys
from ansible.cli.playbook import PlaybookCLI

PlaybookCLI(["ansible-playbook", "--inventory", sys.argv[1], "--forks", "3", "--limit", "all", "site.yml"]).parse()

from scs_deploy.environment import environment
from scs_deploy.inventory import source
from scs_deploy.spec.catalog import load

hosts = source.load(environment.load("region"), source.variables(load())).hosts.values()
print(json.dumps({h.name: h.connection for h in hosts}))
"""


def test_inside_of_ansible_its_command_line_is_no_variable_of_hosts(inventory: Path) -> None:
    """Else scs would not know how to reach a host with plain ssh, and would start a second Ansible in the first."""
    done = subprocess.run([sys.executable, "-c", INSIDE, str(inventory)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {h.name: h.connection for h in load().hosts.values()}
