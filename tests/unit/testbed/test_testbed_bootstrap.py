# SPDX-License-Identifier: Apache-2.0
"""The roles of scs.host: documented defaults equal the real ones. ssh trusts only the region's known hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.environment.environment import Environment, Settings
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.spec import roles

ROLES = sorted(p for p in (paths.layer("host") / "roles").iterdir() if p.is_dir())


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else {}


@pytest.mark.parametrize("role", ROLES, ids=lambda r: r.name)
def test_argument_specs_document_the_defaults(role: Path) -> None:
    options = _load(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == _load(role / "defaults/main.yml")
    assert all(option.get("required") for name, option in options.items() if name not in documented)
    assert all(name.startswith(f"{role.name}_") for name in options)


def test_an_inventory_may_set_the_roles_variables() -> None:
    assert {"time_servers", "container_engine_settings", "users_operators"} <= set(roles.variables())


def test_ssh_trusts_only_the_regions_known_hosts() -> None:
    settings = Settings.model_validate(
        {
            "release": "r",
            "networks": {"management": {"cidr": "10.1.0.0/24"}},
            "api": {side: {"address": "10.1.0.9", "name": side} for side in ("internal", "external")},
            "registry": {"address": "10.1.0.1"},
            "vault_password_file": "v",
        }
    )
    environment = Environment(name="lab", path=Path("/lab"), settings=settings)
    host = Host(name="n1", address="10.1.0.11", networks={}, groups=(), settings={}, connection={"ansible_port": 2222})
    command = ssh_command(environment, host, ("echo", "a b"), terminal=False)
    assert command[:5] == ["ssh", "-i", "/lab/state/ssh/id_ed25519", "-l", "root"]
    assert "UserKnownHostsFile=/lab/state/ssh/known_hosts" in command
    assert "StrictHostKeyChecking=yes" in command
    assert command[-5:] == ["-p", "2222", "10.1.0.11", "--", "echo 'a b'"]
    assert "-t" in ssh_command(environment, host, ("top",), terminal=True)
    assert ssh_command(environment, host, (), terminal=True)[-1] == "10.1.0.11"
