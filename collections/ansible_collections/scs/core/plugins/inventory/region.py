# SPDX-License-Identifier: Apache-2.0
"""scs.core.region: the inventory file that `scs inventory sync` wrote, for plain Ansible. Queries no other source."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template

DOCUMENTATION = r"""
name: region
short_description: The synced inventory of a region
description:
  - Reads C(environments/<name>/inventory.yml), written by C(scs inventory sync); queries no other source.
  - Every host gets its groups, and C(ansible_host), C(networks), C(links), C(zone), C(disks), C(oob) and all settings
    as variables of those names.
  - With environment.yml next to it, Ansible connects to hosts as scs does, with its key and known hosts.
  - Ansible's plugin C(auto), which is enabled by default, finds this one by the file's key C(plugin).
  - Strings are not templated, because they come from elsewhere.
options:
  plugin:
    description: Marks the file as belonging to this plugin.
    type: str
    required: true
    choices: [scs.core.region]
author: SCS deploy contributors
"""
EXAMPLES = r"""
# ansible-inventory -i environments/region/inventory.yml --graph
# ansible -i environments/region/inventory.yml compute -m ansible.builtin.ping
source: https://netbox.example.com (fra1)
version: "4.6"
changed: "2026-01-01T00:00:00Z"
hash: sha256:...
plugin: scs.core.region
groups:
  compute: [compute-1]
hosts:
  compute-1:
    address: 10.10.0.21
    networks:
      management: {interface: bond0, address: 10.10.0.21}
    settings: {nova_cpu_allocation_ratio: 4}
"""

PLAIN = ("links", "zone", "rack", "disks", "oob")
"""Fields of a host that are variables of the same name."""


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """Ansible's interface."""

    NAME = "scs.core.region"

    def verify_file(self, path: str) -> bool:
        """Accept only files that `scs inventory sync` wrote, and leave others to the next plugins."""
        from scs_deploy.inventory import synced

        return bool(super().verify_file(path)) and synced.is_synced(Path(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ARG002
        """Add groups, hosts and variables.

        :raises AnsibleParserError: the file was changed by hand, or this version cannot read it
        """
        from scs_deploy.base.errors import ScsError
        from scs_deploy.inventory import synced

        super().parse(inventory, loader, path)
        try:
            document = synced.load(Path(path))
            common = connection(Path(path).parent)
        except ScsError as error:
            raise AnsibleParserError(str(error)) from None
        for key, value in common.items():
            inventory.set_variable("all", key, plain(value))
        for group in sorted(document.groups):
            inventory.add_group(group)
        for name, host in sorted(document.hosts.items()):
            inventory.add_host(name)
            for key, value in variables(host).items():
                inventory.set_variable(name, key, plain(value))
        for group, hosts in sorted(document.groups.items()):
            for name in hosts:
                inventory.add_host(name, group=group)


def plain(value: Any) -> Any:
    """Mark texts without templates as trusted. Ansible shows others as unsafe, and does not template them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) and "{" not in value else value


def variables(host: Any) -> dict[str, Any]:
    """A host's variables, as in a plain inventory."""
    data = host.model_dump(mode="json", exclude_defaults=True)
    own = {key: data[key] for key in PLAIN if data.get(key)}
    return {
        **data.get("settings", {}), **own, "networks": data["networks"], **data.get("connection", {}),
        "ansible_host": data["address"],
    }  # fmt: skip


def connection(folder: Path) -> dict[str, Any]:
    """scs's connection settings if the inventory is in an environment; otherwise empty."""
    from scs_deploy.base import ssh
    from scs_deploy.base.model import load_model
    from scs_deploy.environment.environment import Environment, Settings

    file = folder / "environment.yml"
    if not file.is_file():
        return {}
    environment = Environment(name=folder.name, path=folder, settings=load_model(Settings, file))
    user = environment.settings.ssh.user
    return {
        "ansible_user": user,
        "ansible_become": user != "root",
        "ansible_ssh_private_key_file": str(environment.ssh_key.resolve()),
        "ansible_ssh_common_args": shlex.join(ssh.arguments(ssh.options(environment.known_hosts.resolve()))),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
