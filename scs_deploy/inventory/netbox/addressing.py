# SPDX-License-Identifier: Apache-2.0
"""Which prefix an address lies in, and which network of the region that is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.inventory.netbox.mapping import Networks
from scs_deploy.inventory.netbox.read import Address, IPInterface, Prefix

_NOT_USED = frozenset({"container", "deprecated"})
SHARED = frozenset({"vip", "vrrp", "hsrp", "glbp", "carp", "anycast"})
"""Roles of addresses that no single host carries."""
LOOPBACK = "loopback"


@dataclass(frozen=True)
class Prefixes:
    """The region's prefixes, by VRF, IP version, prefix length and network number."""

    table: Mapping[tuple[int | None, int], Mapping[int, Mapping[int, Prefix]]] = field(default_factory=dict)

    @classmethod
    def build(cls, prefixes: Iterable[Prefix], sites: Iterable[str]) -> Prefixes:
        """Those that hold hosts: neither containers nor deprecated, and of no other site."""
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
        """The most specific prefix around an address, in the same VRF."""
        number, bits = int(address.ip), address.max_prefixlen
        for length, networks in self.table.get((vrf, address.version), {}).items():
            shift = bits - length
            if found := networks.get(number >> shift << shift):
                return found
        return None

    def all(self) -> list[Prefix]:
        """Every prefix, in a fixed order."""
        found = [p for lengths in self.table.values() for nets in lengths.values() for p in nets.values()]
        return sorted(found, key=lambda p: (p.vrf or 0, p.network.version, int(p.network.network_address)))


def role_of(prefix: Prefix, rules: Networks) -> str:
    """NetBox's name of the network that a prefix belongs to: custom field, prefix role, tag; '' for none."""
    if rules.field and (named := prefix.fields.get(rules.field)):
        return str(named)
    return prefix.role or role_of_tags(prefix.tags, rules)


def role_of_tags(tags: Iterable[str], rules: Networks) -> str:
    """The network that a tag names; '' for none or for several."""
    found = {t.removeprefix(rules.tags) for t in tags if rules.tags and t.startswith(rules.tags)}
    return found.pop() if len(found) == 1 else ""


def network_of(role: str, rules: Networks, known: Mapping[str, Any]) -> str | None:
    """The region's network of a NetBox network role; None when the region does not use it."""
    name = rules.roles.get(role, role)
    return name if name in known else None


def mask_problem(address: Address, prefix: Prefix) -> str | None:
    """An address's length must be its prefix's; a single address (/32, /128) is fine anywhere."""
    length = address.address.network.prefixlen
    if length in (prefix.network.prefixlen, address.address.max_prefixlen):
        return None
    return f"address {address.address} has another length than its prefix {prefix.network}"
