# SPDX-License-Identifier: Apache-2.0
"""NetBox's interfaces of one host as links. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from scs_deploy.inventory.links import Link
from scs_deploy.inventory.netbox.addressing import LOOPBACK, SHARED
from scs_deploy.inventory.netbox.read import Address, IPInterface, Port

_SUFFIX = re.compile(r"[.](\d{1,4})$")


def order(address: IPInterface) -> tuple[int, int, int]:
    """IPv4 before IPv6, then by number."""
    return address.version, int(address.ip), address.network.prefixlen


def carried(addresses: Sequence[Address], statuses: frozenset[str]) -> list[Address]:
    """Those of an interface's addresses that the host itself configures."""
    found = [a for a in addresses if a.status in statuses and a.role not in SHARED]
    return sorted(found, key=lambda a: order(a.address))


def links(
    ports: Sequence[Port],
    addresses: Mapping[int, Sequence[Address]],
    statuses: frozenset[str],
    bond_mode: str,
    complain: Callable[[str, str], None],
) -> dict[str, Link]:
    """A host's links by name; management controllers are left out.

    :param addresses: port id: its addresses
    :param complain: is told port and problem
    """
    own = sorted((p for p in ports if not p.mgmt_only), key=lambda p: p.name)
    by_id = {p.id: p for p in own}
    found: dict[str, Link] = {}
    for port in own:
        if port.name in found:
            complain(port.name, "NetBox has two interfaces of this name")
            continue
        kind = _kind(port)
        given = addresses.get(port.id, ())
        values: dict[str, Any] = {
            "kind": kind,
            "mac": port.mac,
            "mtu": port.mtu,
            "enabled": port.enabled,
            "neighbour": port.neighbour,
            "addresses": tuple(a.address for a in carried(given, statuses)),
            "dhcp": any(a.status == "dhcp" for a in given),
            "accept_ra": any(a.status == "slaac" for a in given),
        }
        if kind == "bond":
            values |= {"mode": bond_mode, "members": tuple(p.name for p in own if p.lag == port.id)}
        elif kind == "bridge":
            values["members"] = tuple(p.name for p in own if p.bridge == port.id)
        elif kind == "vlan":
            parent = by_id.get(port.parent or 0)
            suffix = _SUFFIX.search(port.name)
            number = port.vlan or (int(suffix[1]) if suffix else None)
            if parent is None:
                complain(port.name, "its parent is no interface of this host")
            elif number is None:
                complain(port.name, "NetBox names no VLAN for it: give it an untagged VLAN")
            else:
                values |= {"parent": parent.name, "vlan": number}
        found[port.name] = Link(**values)
    return found


def loopback(address: Address) -> bool:
    """An address that lies in no prefix by design."""
    return address.role == LOOPBACK


def _kind(port: Port) -> Literal["physical", "bond", "vlan", "bridge", "dummy"]:
    if port.type == "lag":
        return "bond"
    if port.type == "bridge":
        return "bridge"
    if port.parent is not None:
        return "vlan"
    return "dummy" if port.type == "virtual" else "physical"
