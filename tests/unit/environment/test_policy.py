# SPDX-License-Identifier: Apache-2.0
"""A policy of the operator reaches the container that enforces it, or is refused before anything else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from scs_deploy.base import ini
from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import resolve
from scs_deploy.desired.model import DesiredHost
from scs_deploy.environment import policy
from scs_deploy.region.region import Region

APIS = {
    "keystone": "keystone", "glance": "glance", "placement": "placement", "nova": "nova_api", "neutron": "neutron_api",
}  # fmt: skip
"""Service: its container that enforces rules."""
CONFIGURATION = {"glance": "glance-api.conf"}
RULES = '"example:list": "role:reader and project_id:%(project_id)s"\n"example:delete": "!"\n'


def with_config(region: Region, folder: Path, files: dict[str, str]) -> Region:
    for name, text in files.items():
        (folder / "config" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "config" / name).write_text(text, encoding="utf-8")
    return dataclasses.replace(region, environment=region.environment.model_copy(update={"path": folder}))


def rendered(region: Region) -> DesiredHost:
    return resolve.resolve(region, "testbed-1")


@pytest.mark.parametrize(("service", "container"), APIS.items())
def test_a_policy_reaches_its_container(testbed: Region, tmp_path: Path, service: str, container: str) -> None:
    host = rendered(with_config(testbed, tmp_path, {f"{service}/policy.yaml": RULES}))
    file = host.files[f"/etc/scs/{container}/policy.yaml"]
    assert yaml.safe_load(file.content) == yaml.safe_load(RULES)
    path = f"/etc/{service}/policy.yaml"
    binds = host.containers[container].body["HostConfig"]["Binds"]
    assert f"/etc/scs/{container}/policy.yaml:{path}:ro" in binds
    configuration = host.files[f"/etc/scs/{container}/{CONFIGURATION.get(service, f'{service}.conf')}"].content
    assert ini.parse(configuration)["oslo_policy"]["policy_file"] == (path,)
    before = rendered(with_config(testbed, tmp_path / "without", {}))
    changed = {f.container for p, f in host.files.items() if p not in before.files or before.files[p] != f}
    assert changed == {container}, "no other container restarts"


def test_the_operators_rules_win_over_those_of_the_service(testbed: Region, tmp_path: Path) -> None:
    path, mine = "/etc/scs/barbican_api/policy.yaml", "secret:decrypt"
    shipped = yaml.safe_load(rendered(testbed).files[path].content)
    assert set(shipped) == {mine}
    other = rendered(with_config(testbed, tmp_path, {"barbican/policy.yaml": '"secrets:post": "role:admin"\n'}))
    assert yaml.safe_load(other.files[path].content) == {**shipped, "secrets:post": "role:admin"}
    changed = rendered(with_config(testbed, tmp_path, {"barbican/policy.yaml": f'"{mine}": "role:admin"\n'}))
    assert yaml.safe_load(changed.files[path].content) == {mine: "role:admin"}


def test_without_a_policy_there_is_no_file(testbed: Region) -> None:
    host = rendered(testbed)
    assert [p for p in host.files if p.endswith("policy.yaml")] == ["/etc/scs/barbican_api/policy.yaml"]
    assert [f.name for f in host.files.values() if "policy_file" in f.content] == ["barbican.conf"]


def test_that_of_a_container_comes_last(testbed: Region, tmp_path: Path) -> None:
    files = {"nova/policy.yaml": '"a": "@"\n"b": "@"\n', "nova_api/policy.yaml": '"b": "!"\n'}
    host = rendered(with_config(testbed, tmp_path, files))
    assert yaml.safe_load(host.files["/etc/scs/nova_api/policy.yaml"].content) == {"a": "@", "b": "!"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("keystone/policy.yaml", "- a\n", "policy.yaml:1: expected a mapping of rules to text"),
        ("keystone/policy.yaml", "# x\na: [b]\n", "policy.yaml:2: 'a' is not text"),
        ("keystone/policy.yaml", "a:\n", "policy.yaml:1: 'a' is empty; quote its value"),
        ("keystone/policy.yaml", "a: true\n", "policy.yaml:1: 'a' is not text"),
        ("keystone/policy.yaml", "a: !\n", "policy.yaml:1: 'a' is empty; quote its value"),
        ("keystone/policy.yaml", "1: role:admin\n", "policy.yaml:1: the name of a rule is not text"),
        ("keystone/policy.yaml", "a: role:x\nb: role:x\na: role:y\n", "policy.yaml:3: 'a' is there twice"),
        ("keystone/policy.yaml", "a: admin\n", "policy.yaml:1: 'a': 'admin' is no check"),
        ("keystone/policy.yaml", "a: role:x or\n", "policy.yaml:1: 'a': 'role:x or' does not parse"),
        ("keystone/policy.yaml", "a: (role:x\n", "policy.yaml:1: 'a': '(role:x' does not parse"),
        ("keystone/policy.yaml", "a: 'b\n", "policy.yaml:"),
        ("memcached/policy.yaml", RULES, "policy.yaml: this override applies to no service"),
        ("hosts/testbed-1/policy.yaml", RULES, "policy.yaml: this override applies to no service"),
        ("keystone_fernet/policy.yaml", RULES, "policy.yaml: this override applies to no service"),
    ],
)
def test_a_wrong_one_is_refused(testbed: Region, tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(RefusedError) as error:
        _ = with_config(testbed, tmp_path, {name: text}).overrides
    assert message in error.value.message
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "rule",
    [
        "", "@", "!", "role:admin", "rule:a or rule:b", "not role:x", "not (role:x or role:y) and @",
        "((role:a and role:b) or project_id:%(project_id)s)", "role:a AND Not role:b", "'Member':%(role.name)s",
        "(project_id:%(target.project_id)s)", "http://server/path", "is_admin:True",
    ],
)  # fmt: skip
def test_rules_that_oslo_policy_takes(rule: str) -> None:
    assert policy.problem_of(rule) == ""
    assert policy.parse(policy.dump({"a:b": rule})) == {"a:b": rule}


@pytest.mark.parametrize("rule", ["and", "role:a role:b", "or role:a", "role:a and", "()", ")", "not", "x", "(@", "@)"])
def test_rules_that_nobody_would_meet(rule: str) -> None:
    assert policy.problem_of(rule)
