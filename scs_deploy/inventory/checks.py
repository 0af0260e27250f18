# SPDX-License-Identifier: Apache-2.0
"""What every inventory must satisfy, whatever source it came from. Pure: all problems at once, nothing is asked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import IPAddress, Settings
from scs_deploy.inventory import link_checks
from scs_deploy.inventory.link_checks import Place
from scs_deploy.inventory.model import Host, Inventory

NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I)
"""RFC 1123 host name"""
_SHOWN = "link of "
"""Marks the owner of an address that one of its links carries."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong: where, and what."""

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
    """Problems of names, addresses, MACs, networks and links."""
    hosts = list(inventory.hosts.values())
    found = [p for host in hosts for p in _host(host, settings)]
    found += _duplicates(hosts, settings)
    for host in hosts:
        places = {
            n: Place(p.interface, p.address, settings.networks[n].mtu)
            for n, p in host.networks.items()
            if n in settings.networks
        }
        found += [_told(line) for line in link_checks.problems(host.name, host.links, places)]
        if host.links:
            missing = sorted({p.interface for p in host.networks.values()} - set(host.links))
            found += [Problem(host.name, f"networks: interface {name} is not among its links") for name in missing]
    found += [_told(line) for line in link_checks.shared({h.name: h.links for h in hosts})]
    return sorted(set(found))


def _told(line: str) -> Problem:
    host, _, what = line.removeprefix("host ").partition(": ")
    return Problem(host, what)


def check_needs(inventory: Inventory, needs: Mapping[str, Mapping[str, str]]) -> list[Problem]:
    """Hosts that are not on a network that their services use.

    :param needs: {group: {network: who needs it there}}
    """
    found = []
    for group, networks in needs.items():
        for host in inventory.group(group):
            for network, why in networks.items():
                place = host.networks.get(network)
                if place is None or place.address is None:
                    found.append(Problem(host.name, f"has no address on network {network}, which {why} needs"))
    return sorted(set(found))


def check_settings(inventory: Inventory, known: frozenset[str]) -> list[Problem]:
    """Variables that no service and no role declares."""
    found = []
    for name in sorted({s for h in inventory.hosts.values() for s in h.settings} - known):
        hosts = [h.name for h in inventory.hosts.values() if name in h.settings]
        close = difflib.get_close_matches(name, known, n=1)
        more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
        hint = f", did you mean {close[0]}?" if close else ""
        found.append(Problem(f"{hosts[0]}{more}", f"{name}: unknown variable, no service declares it{hint}"))
    return found


def _host(host: Host, settings: Settings) -> Iterator[Problem]:
    if not NAME.fullmatch(host.name):
        yield Problem(host.name, "is no host name (letters, digits, dashes)")
    management = host.networks.get("management")
    if management is None or management.address is None:
        yield Problem(host.name, "has no address on network management")
    for name, place in host.networks.items():
        network = settings.networks.get(name)
        if network is None:
            yield Problem(host.name, f"is on network {name}, which environment.yml does not have")
        elif place.address is not None and place.address not in network.cidr:
            yield Problem(host.name, f"networks.{name}.address {place.address} is outside {network.cidr}")


def _duplicates(hosts: list[Host], settings: Settings) -> Iterator[Problem]:
    names: dict[str, str] = {}
    api = settings.api
    addresses: dict[IPAddress, str] = {
        api.internal.address: "api.internal.address",
        api.external.address: "api.external.address",
    }
    reached: dict[str, str] = {}
    for host in hosts:
        if (key := host.name.lower()) in names:
            yield Problem(host.name, f"is {names[key]} too: names do not differ by case alone")
        names[key] = host.name
        carried = {a.ip for link in host.links.values() for a in link.addresses}
        for network, place in host.networks.items():
            if place.address is None:
                continue
            # what two hosts' links carry is told by link_checks.shared; here what no link shows
            owner = addresses.get(place.address)
            if owner and not (place.address in carried and owner.startswith(_SHOWN)):
                yield Problem(
                    host.name, f"networks.{network}.address {place.address} belongs to {owner.removeprefix(_SHOWN)} too"
                )
            addresses[place.address] = (_SHOWN if place.address in carried else "") + f"host {host.name}"
        for one in (api.internal, api.external):
            if one.address in carried and all(p.address != one.address for p in host.networks.values()):
                yield Problem(host.name, f"a link carries {one.address}, the API's address {one.name}")
        if host.address in reached:
            yield Problem(host.name, f"ansible_host {host.address} is host {reached[host.address]} too")
        reached[host.address] = host.name
