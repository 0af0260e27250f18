# SPDX-License-Identifier: Apache-2.0
"""The sources of a region's inventory: a synced file, an Ansible inventory, or NetBox. All yield the same model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import checks, synced, yaml
from scs_deploy.inventory.checks import Known, Problem, Variable
from scs_deploy.inventory.model import Host, Inventory
from scs_deploy.inventory.netbox import mapping, resolve
from scs_deploy.inventory.netbox.read import read as read_netbox
from scs_deploy.inventory.placing import placed
from scs_deploy.inventory.synced import Document
from scs_deploy.spec import roles
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.service import Service

NETBOX = "netbox"
_ADDRESSES = ("tunnel_network", "cluster_network")
"""Suffixes of settings that name a network on which the service's hosts need an address."""


@dataclass(frozen=True)
class Found:
    """The content of a source: a document to write, and all its problems."""

    document: Document
    problems: tuple[Problem, ...]
    left_out: dict[str, int]
    """reason: number of the source's objects that are not hosts for this reason"""
    requests: int = 0

    def refuse(self, consequence: str) -> None:
        """:raises ProblemsError: the document has problems"""
        if self.problems:
            raise checks.ProblemsError(self.document.source, self.problems, consequence)


class _Undeclared:
    """A variable of a service whose declarations cannot be read."""

    def problem(self, value: object) -> str:  # noqa: ARG002 - see checks.Variable
        """Any value may be right."""
        return ""


class _Variables(dict[str, Variable]):
    """The declared variables, and those that a service with an error may declare."""

    def __init__(self, declared: Known, left_out: Iterable[str]) -> None:
        super().__init__(declared)
        self._prefixes = tuple(f"{name}_" for name in left_out)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(self._prefixes))

    def __missing__(self, name: str) -> Variable:
        if name.startswith(self._prefixes):
            return _Undeclared()
        raise KeyError(name)


def variables(catalog: Catalog) -> Known:
    """The operator variables that services and roles declare."""
    return _Variables({**roles.variables(), **catalog.declared}, (e.name for e in catalog.left_out))


def load(environment: Environment, known: Known) -> Inventory:
    """Load the environment's inventory, whichever kind environment.yml names.

    :param known: operator variables that services and roles declare
    :raises RefusedError: the inventory has problems; lists all of them where possible
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
    """Read the current inventory from a source.

    :param origin: `netbox`, or the path of an Ansible inventory or synced file
    :raises RefusedError: the source rejects the request or cannot be read
    :raises ScsError: the source does not respond
    """
    if origin == NETBOX:
        return _netbox(environment, catalog, progress)
    path = Path(origin).resolve()
    if not path.exists():
        raise RefusedError(f"{path}: does not exist", "use --from netbox, or an inventory file or folder")
    if synced.is_synced(path):
        document = synced.load(path)
        problems = [
            *checks.check(document.inventory(), environment.settings),
            *checks.check_settings(document.inventory(), variables(catalog)),
        ]
    else:
        inventory = yaml.load(environment, variables(catalog), path)
        document = synced.document(_name(path, environment), inventory)
        problems = []
    problems += region_problems(document.inventory(), environment, catalog)
    return Found(document, tuple(sorted(set(problems))), {})


def _netbox(environment: Environment, catalog: Catalog, progress: Callable[[int, int], None]) -> Found:
    rules = mapping.load(environment)
    netbox = mapping.client(environment, rules)
    snapshot = read_netbox(netbox, rules, progress)
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
    """Unmet requirements of the catalog: groups with hosts, odd quorums, and hosts on the networks that they use."""
    problems = []
    catalog = placed(catalog, inventory)
    for name, series in catalog.series.items():
        for host in inventory.group(*series.hosts):
            if not host.disks_of(series.each.roles):
                role = f" of role {' or '.join(series.each.roles)}" if series.each.roles else ""
                what = f"is in {_named(series.hosts)}, but has no disk{role}, which {name} needs: list its `disks`"
                problems.append(Problem(host.name, what))
    empty: dict[str, list[str]] = {}
    for service in catalog.services.values():
        for name, container in service.containers.items():
            for group in container.hosts or service.hosts:
                if not inventory.group(group):
                    empty.setdefault(group, []).append(name)
        voters = len(inventory.group(*service.hosts))
        if service.quorum and voters and voters % 2 == 0:
            problems.append(
                Problem(
                    _named(service.hosts),
                    f"has {voters} hosts, but {service.name} needs an odd number: use {voters - 1} or {voters + 1}",
                )
            )
    for group, names in empty.items():
        problems.append(Problem(f"group {group}", f"has no hosts, but these containers run on it: {', '.join(names)}"))
    problems += _values_without_hosts(inventory, catalog)
    problems += _values_without_others(inventory, catalog)
    return sorted({*problems, *_network_problems(inventory, environment, catalog)})


def _values_without_hosts(inventory: Inventory, catalog: Catalog) -> Iterator[Problem]:
    """Values of settings that need hosts of a group which has none."""
    for name, setting in catalog.declared.items():
        for host in inventory.hosts.values() if setting.only_with else ():
            value = str(host.settings.get(name, setting.default))
            group = setting.only_with.get(value)
            if group and not inventory.group(group):
                others = ", ".join(str(c) for c in setting.choices if str(c) not in setting.only_with)
                yield Problem(host.name, f"{name} is '{value}', but group {group} has no hosts; use {others}")


def _values_without_others(inventory: Inventory, catalog: Catalog) -> Iterator[Problem]:
    """Values of settings that mean nothing without another one."""
    for service in catalog.services.values():
        for name, setting in service.settings.items():
            for host in inventory.group(*service.hosts) if setting.needs else ():
                if host.settings.get(name, setting.default) == setting.default:
                    continue
                for other in setting.needs:
                    if not host.settings.get(other, catalog.declared[other].default):
                        yield Problem(host.name, f"{name} has a value, but {other} has none; set both")


def _named(groups: tuple[str, ...]) -> str:
    return f"group{'s' * (len(groups) > 1)} {', '.join(groups)}"


def _network_problems(inventory: Inventory, environment: Environment, catalog: Catalog) -> list[Problem]:
    """Hosts without an address on a network that their services listen or tunnel on."""
    needs: dict[str, dict[str, str]] = {}
    api = environment.settings.api
    for name in catalog.address_holders:
        for side in (api.internal, api.external):
            for group in catalog.services[name].hosts:
                own = needs.setdefault(group, {})
                own[side.network] = f"{name} (API address {side.address})"
    problems = checks.check_needs(inventory, needs)
    values = defaults(inventory, catalog)
    for service in catalog.services.values():
        for setting in service.settings:
            if setting.endswith(_ADDRESSES):
                for host in _users(inventory, service):
                    problems += _tunnel(host, setting, values[setting])
            elif service.settings[setting].type == "network":
                problems += _without_ipv6(environment, setting, str(values[setting]))
    return sorted(set(problems))


def _without_ipv6(environment: Environment, setting: str, name: str) -> Iterator[Problem]:
    """The external bridge takes the address of such a network over, with its IPv4 routes only."""
    network = environment.settings.networks.get(name)
    if network is not None and network.cidr.version == 6:
        where = f"{environment.file}: networks.{name}.cidr"
        yield Problem(where, f"{network.cidr} is IPv6, but {setting} moves an address and its routes only of IPv4")


def _users(inventory: Inventory, service: Service) -> list[Host]:
    """The hosts that use a service's network settings.

    The virtual switch runs on the groups of containers that are placed outside of the service's group.
    """
    groups = {group for c in service.containers.values() for group in c.hosts or ()} or set(service.hosts)
    return list(inventory.group(*sorted(groups)))


def _tunnel(host: Host, setting: str, default: object) -> Iterator[Problem]:
    network = host.settings.get(setting, default)
    place = host.networks.get(str(network))
    if place is None or place.address is None:
        how = "names" if setting in host.settings else "names by default; set it in the inventory, or add the address"
        yield Problem(host.name, f"has no address on network {network}, which {setting} {how}")


def defaults(inventory: Inventory, catalog: Catalog) -> dict[str, object]:
    """The value of every setting that an inventory does not set.

    The default of a network follows from the inventory: the first candidate on which a host has an address. One host is
    enough, so that a host which lacks the address is refused and never moves the tunnels of all others.
    """
    catalog = placed(catalog, inventory)
    found = dict(catalog.settings)
    for service in catalog.services.values():
        for name, setting in service.settings.items():
            if setting.type == "network" and isinstance(setting.default, list):
                places = [host.networks for host in _users(inventory, service) if name not in host.settings]
                found[name] = next(
                    (n for n in setting.default if any(n in p and p[n].address is not None for p in places)),
                    setting.default[-1],
                )
    return found


def _name(path: Path, environment: Environment) -> str:
    return (
        str(path.relative_to(environment.path.resolve()))
        if path.is_relative_to(environment.path.resolve())
        else str(path)
    )
