# SPDX-License-Identifier: Apache-2.0
"""Find the prefix of an address, and the region's network of a prefix. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.inventory.netbox.mapping import Networks
from scs_deploy.inventory.netbox.read import Address, IPInterface, Prefix

_NOT_USED = frozenset({"container", "deprecated"})
SHARED = frozenset({"vip", "vrrp", "hsrp", "glbp", "carp", "anycast"})
"""Roles of addresses that are not bound to a single host."""
LOOPBACK = "loopback"


@dataclass(frozen=True)
class Prefixes:
    """The region's prefixes, by VRF, IP version, prefix length and network number."""

    table: Mapping[tuple[int | None, int], Mapping[int, Mapping[int, Prefix]]] = field(default_factory=dict)

    @classmethod
    def build(cls, prefixes: Iterable[Prefix], sites: Iterable[str]) -> Prefixes:
        """Collect the prefixes that can contain hosts: neither containers nor deprecated, and not of other sites."""
        here = {"", *sites}
        table: dict[tuple[int | None, int], dict[int, dict[int, Prefix]]] = {}
        for p in prefixes:
            if p.status in _NOT_USED or p.site not in here:
                continue
            lengths = table.setdefault((p.vrf, p.network.version), {})
            lengths.setdefault(p.network.prefixlen, {})[int(p.network.network_address)] = p
        longest_first = {k: dict(sorted(v.items(), reverse=True)) for k, v in table.items()}
        return cls(longest_first)

    def of(self, address: IPInterface, vrf: int | None) -> Prefix | None:
        """The most specific prefix that contains an address, in the same VRF."""
        number, bits = int(address.ip), address.max_prefixlen
        for length, networks in self.table.get((vrf, address.version), {}).items():
            shift = bits - length
            if prefix := networks.get(number >> shift << shift):
                return prefix
        return None

    def all(self) -> list[Prefix]:
        """All prefixes in a fixed order."""
        prefixes = [p for lengths in self.table.values() for nets in lengths.values() for p in nets.values()]
        return sorted(prefixes, key=lambda p: (p.vrf or 0, p.network.version, int(p.network.network_address)))


def role_of(prefix: Prefix, rules: Networks) -> str:
    """The NetBox network role of a prefix, from its custom field, role or tag; '' if it has none."""
    if rules.field and (named := prefix.fields.get(rules.field)):
        return str(named)
    return prefix.role or role_of_tags(prefix.tags, rules)


def role_of_tags(tags: Iterable[str], rules: Networks) -> str:
    """The network role that a tag names; '' unless exactly one tag does."""
    roles = {t.removeprefix(rules.tags) for t in tags if rules.tags and t.startswith(rules.tags)}
    return roles.pop() if len(roles) == 1 else ""


def network_of(role: str, rules: Networks, known: Mapping[str, Any]) -> str | None:
    """The region's network for a NetBox network role; None if the region does not use the role."""
    name = rules.roles.get(role, role)
    return name if name in known else None


def mask_problem(address: Address, prefix: Prefix) -> str | None:
    """The problem if an address and its prefix have different lengths; /32 and /128 are always valid."""
    length = address.address.network.prefixlen
    if length in (prefix.network.prefixlen, address.address.max_prefixlen):
        return None
    return f"the length of address {address.address} differs from its prefix {prefix.network}"
