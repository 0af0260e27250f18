# SPDX-License-Identifier: Apache-2.0
"""Requirements of every inventory, whatever its source. Pure. All problems are reported at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import IPAddress
from scs_deploy.environment.environment import Settings
from scs_deploy.inventory import link_checks
from scs_deploy.inventory.link_checks import LinkProblem, Place
from scs_deploy.inventory.model import Host, Inventory

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
"""One label of a host name, RFC 1123"""

_RESERVED = frozenset((
    "all", "ungrouped", "localhost", "localhost4", "localhost6", "localhost-live", "broadcasthost",
    "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters",
))  # fmt: skip
"""Names that Ansible or the hosts' own /etc/hosts give another meaning"""


class Variable(Protocol):
    """The declaration of an operator variable."""

    def problem(self, value: Any) -> str:
        """Why `value` is wrong, and what is right; empty: it is valid."""
        ...


Known = Mapping[str, Variable]
"""The operator variables that services and roles declare"""


@dataclass(frozen=True, order=True)
class Problem:
    """One problem: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ProblemsError(RefusedError):
    """All problems of an inventory in one report."""

    def __init__(self, source: str, problems: Iterable[Problem], consequence: str = "") -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        lines = "".join(f"\n  {p}" for p in self.problems)
        super().__init__(f"{source}: {count} problem{'s' * (count != 1)}{consequence}:{lines}")


def check(inventory: Inventory, settings: Settings) -> list[Problem]:
    """Problems of names, addresses, MAC addresses, networks and links."""
    hosts = list(inventory.hosts.values())
    problems = [p for host in hosts for p in _host(host, inventory.groups, settings)]
    problems += _duplicates(hosts, settings)
    problems += _files(inventory, settings)
    for host in hosts:
        places = {
            n: Place(p.interface, p.address, settings.networks[n].mtu)
            for n, p in host.networks.items()
            if n in settings.networks
        }
        problems += [_of_link(p) for p in link_checks.problems(host.name, host.links, places)]
        if host.links:
            missing = sorted({p.interface for p in host.networks.values()} - set(host.links))
            problems += [Problem(host.name, f"networks: interface {name} is missing in its links") for name in missing]
    problems += [_of_link(p) for p in link_checks.shared({h.name: h.links for h in hosts})]
    return sorted(set(problems))


def _of_link(problem: LinkProblem) -> Problem:
    return Problem(problem.host, f"{problem.key}: {problem.what}; {problem.hint}")


def check_needs(inventory: Inventory, needs: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    """Hosts without an address on a network that their services use.

    :param needs: {group: {network: what requires it}}
    """
    problems = []
    for group, networks in needs.items():
        for host in inventory.group(group):
            for network, user in networks.items():
                place = host.networks.get(network)
                if place is None or place.address is None:
                    problems.append(Problem(host.name, f"has no address on network {network}, which {user} requires"))
    return sorted(set(problems))


def check_settings(inventory: Inventory, known: Known) -> list[Problem]:
    """Variables that no service and no role declares, and values that a declaration excludes."""
    problems = []
    for host in inventory.hosts.values():
        for name, value in host.settings.items():
            if name in known and (problem := known[name].problem(value)):
                problems.append(Problem(host.name, f"{name} {problem}"))
    for name in sorted({s for h in inventory.hosts.values() for s in h.settings if s not in known}):
        hosts = [h.name for h in inventory.hosts.values() if name in h.settings]
        close = difflib.get_close_matches(name, known, n=1)
        more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
        hint = f", did you mean {close[0]}?" if close else ""
        problems.append(Problem(f"{hosts[0]}{more}", f"{name}: unknown variable, no service declares it{hint}"))
    return problems


def name_problem(name: str, groups: Iterable[str], settings: Settings) -> str:
    """Why a host cannot have this name, and what to do; empty if it can.

    :param groups: the inventory's groups
    """
    other = "choose another name"
    if _is_address(name):
        return f"is an address, not a host name; {other} and set ansible_host to the address"
    if "." in name and all(map(_NAME.fullmatch, name.split("."))):
        return (
            "contains a dot, and RabbitMQ's node names cannot; "
            f"use the short name {name.partition('.')[0]} in the inventory and on the host"
        )
    if not _NAME.fullmatch(name):
        return "is not a valid host name (use letters, digits, dashes)"
    if name.isdigit():
        return f"consists of digits only, which programs read as an address; {other}"
    if name.lower() in _RESERVED:
        return f"is a reserved name; {other}"
    if name in groups:
        return f"is also the name of a group; {other}"
    if name.lower() in (settings.api.internal.name.lower(), settings.api.external.name.lower()):
        return f"is also the name of an API address in environment.yml; {other}"
    return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host(host: Host, groups: Iterable[str], settings: Settings) -> Iterator[Problem]:
    if problem := name_problem(host.name, groups, settings):
        yield Problem(host.name, problem)
    management = host.networks.get("management")
    if management is None or management.address is None:
        yield Problem(host.name, "has no address on network management")
    for name, place in host.networks.items():
        network = settings.networks.get(name)
        if network is None:
            yield Problem(host.name, f"is on network {name}, which environment.yml does not define")
        elif place.address is not None and place.address not in network.cidr:
            yield Problem(host.name, f"networks.{name}.address {place.address} is outside {network.cidr}")
    yield from _disks(host)


def _disks(host: Host) -> Iterator[Problem]:
    """A disk that is there twice, and an osd whose metadata has no place, or shares one."""
    for what, values in {
        "name": [d.name for d in host.disks],
        "disk": [d.path for d in host.disks],
        "folder": [d.folder for d in host.disks if d.folder],
    }.items():
        for value in sorted({v for v in values if values.count(v) > 1}):
            same = f"disks: two disks have the {what} {value}" if what != "disk" else f"disks: {value} is there twice"
            yield Problem(host.name, f"{same}; give each its own")
    for role in ("db", "wal"):
        users: dict[str, str] = {}
        there = {d.name for d in host.disks_of((role,))}
        for disk in host.disks:
            name = disk.db if role == "db" else disk.wal
            if name is None:
                continue
            what = ""
            if name not in there:
                what = f"no disk '{name}' of role {role}; there are: {', '.join(sorted(there)) or 'none'}"
            elif name in users:
                what = f"{users[name]} uses '{name}' already; list its partitions as disks"
            if what:
                yield Problem(host.name, f"disks: {disk.name}: {role}: {what}")
            users.setdefault(name, disk.name)


def _files(inventory: Inventory, settings: Settings) -> list[Problem]:
    """Files that stand for disks where that is not allowed."""
    if settings.testbed is not None:
        return []
    return [
        Problem(host.name, f"disks: {d.name}: file: only testbeds have files for disks; name a device")
        for host in inventory.hosts.values()
        for d in host.disks
        if d.file
    ]


def _duplicates(hosts: list[Host], settings: Settings) -> Iterator[Problem]:
    names: dict[str, str] = {}
    api = settings.api
    addresses: dict[IPAddress, tuple[str, bool]] = {
        api.internal.address: ("api.internal.address", False),
        api.external.address: ("api.external.address", False),
    }
    """address: its owner, and whether one of the owner's links carries it"""
    reached: dict[str, str] = {}
    for host in hosts:
        if (key := host.name.lower()) in names:
            yield Problem(host.name, f"differs from {names[key]} in upper and lower case only")
        names[key] = host.name
        carried = {a.ip for link in host.links.values() for a in link.addresses}
        for network, place in host.networks.items():
            if place.address is None:
                continue
            # link_checks.shared reports addresses that the links of two hosts carry
            on_link = place.address in carried
            owner, on_owners_link = addresses.get(place.address, ("", False))
            if owner and not (on_link and on_owners_link):
                yield Problem(host.name, f"networks.{network}.address {place.address} is also used by {owner}")
            addresses[place.address] = (f"host {host.name}", on_link)
        for one in (api.internal, api.external):
            if one.address in carried and all(p.address != one.address for p in host.networks.values()):
                yield Problem(host.name, f"a link has {one.address}, the API address of {one.name}")
        if host.address in reached:
            yield Problem(host.name, f"ansible_host {host.address} is also used by host {reached[host.address]}")
        reached[host.address] = host.name
