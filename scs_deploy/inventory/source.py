# SPDX-License-Identifier: Apache-2.0
"""Where a region's inventory comes from: a synced file, an Ansible inventory, or NetBox. All give the same model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import checks, synced, yaml
from scs_deploy.inventory.checks import Problem
from scs_deploy.inventory.model import Inventory
from scs_deploy.inventory.netbox import mapping, resolve
from scs_deploy.inventory.netbox import read as reader
from scs_deploy.inventory.synced import Document
from scs_deploy.spec import roles
from scs_deploy.spec.catalog import HOLDER, Catalog

NETBOX = "netbox"
_TUNNEL = "tunnel_network"
"""End of the name of a setting whose value is a network that the service's hosts need an address on."""


@dataclass(frozen=True)
class Found:
    """A source's answer: a document to write, and all that is wrong with it."""

    document: Document
    problems: tuple[Problem, ...]
    left_out: dict[str, int]
    """why: how many objects of the source are no hosts"""
    requests: int = 0

    def refuse(self, consequence: str) -> None:
        """:raises ProblemsError: there are problems"""
        if self.problems:
            raise checks.ProblemsError(self.document.source, self.problems, consequence)


def variables(catalog: Catalog) -> frozenset[str]:
    """The operator variables that services and roles declare."""

    return frozenset(catalog.settings) | roles.variables()


def load(environment: Environment, known: frozenset[str]) -> Inventory:
    """The environment's inventory, whichever kind environment.yml names.

    :param known: operator variables that some service declares
    :raises RefusedError: with all that is wrong
    """
    if not synced.is_synced(environment.inventory):
        plain = yaml.load(environment, known)
        return synced.document(str(environment.inventory), plain).inventory()
    inventory = synced.load(environment.inventory).inventory()
    if problems := (*checks.check(inventory, environment.settings), *checks.check_settings(inventory, known)):
        raise checks.ProblemsError(str(environment.inventory), problems)
    if not inventory.hosts:
        raise RefusedError(f"{environment.inventory}: no hosts in this inventory", "scs inventory sync")
    return inventory


def read(
    environment: Environment, catalog: Catalog, origin: str, progress: Callable[[int, int], None] = lambda _d, _t: None
) -> Found:
    """Ask a source for the inventory as it is now.

    :param origin: `netbox`, or the path of an Ansible inventory or synced file
    :raises RefusedError: the source refuses or cannot be read
    :raises ScsError: the source does not answer
    """
    if origin == NETBOX:
        return _netbox(environment, catalog, progress)
    path = Path(origin).resolve()
    if not path.exists():
        raise RefusedError(f"{path}: does not exist", "--from netbox, or an inventory file or folder")
    if synced.is_synced(path):
        document = synced.load(path)
        found = [
            *checks.check(document.inventory(), environment.settings),
            *checks.check_settings(document.inventory(), variables(catalog)),
        ]
    else:
        inventory = yaml.load(environment, variables(catalog), path)
        document = synced.document(_name(path, environment), inventory)
        found = []
    found += region_problems(document.inventory(), environment, catalog)
    return Found(document, tuple(sorted(set(found))), {})


def _netbox(environment: Environment, catalog: Catalog, progress: Callable[[int, int], None]) -> Found:

    rules = mapping.load(environment)
    netbox = mapping.client(environment, rules)
    snapshot = reader.read(netbox, rules, progress)
    result = resolve.resolve(snapshot, rules, environment)
    problems = {
        *result.problems,
        *checks.check_settings(result.inventory, variables(catalog)),
        *region_problems(result.inventory, environment, catalog),
    }
    document = Document(
        source=f"{rules.url} ({', '.join(rules.sites)})",
        version=snapshot.version,
        changed=snapshot.changed,
        networks=result.networks,
        virtual_addresses=result.addresses,
        groups=result.inventory.groups,
        hosts=result.inventory.hosts,
    )
    return Found(document, tuple(sorted(problems)), dict(result.left_out), netbox.requests)


def region_problems(inventory: Inventory, environment: Environment, catalog: Catalog) -> list[Problem]:
    """What the catalog needs of an inventory: groups that are not empty, and hosts on the networks they use."""
    found = []
    for service in catalog.services.values():
        for name, container in service.containers.items():
            group = container.hosts or service.hosts
            if not inventory.group(group):
                found.append(Problem(f"group {group}", f"has no host, and {name} of {service.name} runs there"))
        voters = len(inventory.group(service.hosts))
        if service.quorum and voters and voters % 2 == 0:
            found.append(
                Problem(
                    f"group {service.hosts}",
                    f"has {voters} hosts, and {service.name} decides by majority: make it {voters - 1} or {voters + 1}",
                )
            )
    return sorted({*found, *network_problems(inventory, environment, catalog)})


def network_problems(inventory: Inventory, environment: Environment, catalog: Catalog) -> list[Problem]:
    """Hosts that have no address on a network that their services listen or tunnel on."""
    needs: dict[str, dict[str, str]] = {}
    if holder := catalog.services.get(HOLDER):
        api = environment.settings.api
        for side in (api.internal, api.external):
            needs.setdefault(holder.hosts, {})[side.network] = f"{HOLDER} (API address {side.address})"
    found = checks.check_needs(inventory, needs)
    for service in catalog.services.values():
        for setting in service.settings:
            if setting.endswith(_TUNNEL):
                # the virtual switch runs where the service places containers apart from its own group
                groups = {c.hosts for c in service.containers.values() if c.hosts} or {service.hosts}
                for group in sorted(groups):
                    found += _tunnels(inventory, catalog, group, setting)
    return sorted(set(found))


def _tunnels(inventory: Inventory, catalog: Catalog, group: str, setting: str) -> list[Problem]:
    found = []
    for host in inventory.group(group):
        network = host.settings.get(setting, catalog.settings[setting])
        place = host.networks.get(network)
        if place is None or place.address is None:
            found.append(Problem(host.name, f"has no address on network {network}, which {setting} names"))
    return found


def _name(path: Path, environment: Environment) -> str:
    return (
        str(path.relative_to(environment.path.resolve()))
        if path.is_relative_to(environment.path.resolve())
        else str(path)
    )
