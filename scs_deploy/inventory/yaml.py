# SPDX-License-Identifier: Apache-2.0
"""Read an Ansible inventory (hosts, group_vars, host_vars) into the model, with Ansible's own precedence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import validate
from scs_deploy.base.shown import shown
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import ansible, checks
from scs_deploy.inventory.files import Sources
from scs_deploy.inventory.model import Host, Interface, Inventory, grouped

_DESCRIBED = ("links", "zone", "rack", "disks", "oob")
"""Host variables that become fields of `Host`"""


def load(environment: Environment, known: checks.Known, path: Path | None = None) -> Inventory:
    """Load all hosts with their variables.

    :param known: operator variables that services and roles declare
    :param path: default: the environment's inventory
    :raises RefusedError: no hosts, an unknown variable, a missing address, an address outside of its network, or a
        duplicate address or name
    """
    path = path or environment.inventory
    if not path.exists():
        hint = "scs inventory sync" if (environment.path / "netbox.yml").exists() else ""
        raise RefusedError(f"{environment.file}: inventory: {path} does not exist", hint)
    raw = ansible.read(environment, path)
    if not raw:
        raise RefusedError(f"{path}: no hosts in this inventory")
    sources = Sources(path, {name: places for name, (_, _, places) in raw.items()})
    groups = {g for _, names, _ in raw.values() for g in names}
    for name in sorted(raw):
        if problem := checks.name_problem(name, groups, environment.settings):
            raise RefusedError(f"{sources.host(name)}: host {shown(name)} {problem}")
    hosts = {name: _host(environment, sources, name, *raw[name][:2], known) for name in sorted(raw)}
    _check_addresses(environment, sources, hosts)
    inventory = grouped(hosts)
    if problems := checks.check(inventory, environment.settings):
        raise checks.ProblemsError(str(path), problems)
    return inventory


def _host(
    environment: Environment,
    sources: Sources,
    name: str,
    variables: dict[str, Any],
    groups: list[str],
    known: checks.Known,
) -> Host:
    networks: dict[str, Interface] = {}
    raw_networks = variables.pop("networks", None)
    if not isinstance(raw_networks, dict):
        raise RefusedError(
            f"{sources.find(name, 'networks')}: host {name} has no networks",
            "set networks.<name>.interface and .address",
        )
    at = sources.find(name, "networks")
    for network, value in raw_networks.items():
        if network not in environment.settings.networks:
            raise RefusedError(f"{at}: host {name}: network '{shown(network)}' is not defined in {environment.file}")
        interface = validate(Interface, value, _file_of(at), ("networks", network))
        if interface.address and interface.address not in environment.settings.networks[network].cidr:
            cidr = environment.settings.networks[network].cidr
            raise RefusedError(f"{at}: host {name}: networks.{network}.address {interface.address} is outside {cidr}")
        networks[network] = interface
    if "management" not in networks or networks["management"].address is None:
        raise RefusedError(f"{sources.find(name, 'networks')}: host {name} needs an address on network management")
    described = {k: variables.pop(k) for k in _DESCRIBED if k in variables}
    connection = {k: v for k, v in variables.items() if k.startswith("ansible_")}
    settings = {k: v for k, v in variables.items() if not k.startswith("ansible_")}
    for key in settings:
        if key not in known:
            import difflib

            close = difflib.get_close_matches(key, known, n=1)
            raise RefusedError(
                f"{sources.find(name, key)}: {shown(key)}: unknown variable",
                f"did you mean {close[0]}?" if close else "no service declares it",
            )
        if problem := known[key].problem(settings[key]):
            raise RefusedError(f"{sources.find(name, key)}: {key} {problem} (host {name})")
    address = str(connection.get("ansible_host", networks["management"].address))
    return validate(
        Host,
        {
            "name": name, "address": address, "networks": networks, "groups": tuple(groups), "settings": settings,
            "connection": connection, **described,
        },
        _file_of(sources.find(name, next(iter(described), "networks"))),
    )  # fmt: skip


def _check_addresses(environment: Environment, sources: Sources, hosts: dict[str, Host]) -> None:
    seen: dict[str, str] = {
        str(environment.settings.api.internal.address): "api.internal.address",
        str(environment.settings.api.external.address): "api.external.address",
    }
    if len(seen) == 1:
        raise RefusedError(f"{environment.file}: api: the internal and external addresses are the same")
    for host in hosts.values():
        for network, interface in host.networks.items():
            if interface.address is None:
                continue
            text = str(interface.address)
            if text in seen:
                at = sources.find(host.name, "networks")
                raise RefusedError(
                    f"{at}: host {host.name}: networks.{network}.address {text} is also used by {seen[text]}"
                )
            seen[text] = f"host {host.name}"
    reached: dict[str, str] = {}
    for host in hosts.values():
        if host.address in reached:
            raise RefusedError(
                f"{sources.find(host.name, 'ansible_host')}: host {host.name}: ansible_host {host.address} "
                f"is also used by host {reached[host.address]}",
                "list each host under one name only",
            )
        reached[host.address] = host.name


def _file_of(at: str) -> Path:
    return Path(at.rpartition(":")[0])
