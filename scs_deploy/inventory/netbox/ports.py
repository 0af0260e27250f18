# SPDX-License-Identifier: Apache-2.0
"""Convert the NetBox interfaces of one host to links. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from scs_deploy.inventory.links import Link
from scs_deploy.inventory.netbox.addressing import LOOPBACK, SHARED
from scs_deploy.inventory.netbox.read import Address, IPInterface, Port

_SUFFIX = re.compile(r"[.](\d{1,4})$")


def order(address: IPInterface) -> tuple[int, int, int]:
    """Sort key: IPv4 before IPv6, then numerically."""
    return address.version, int(address.ip), address.network.prefixlen


def carried(addresses: Sequence[Address], statuses: frozenset[str]) -> list[Address]:
    """The addresses of an interface that the host configures."""
    own = [a for a in addresses if a.status in statuses and a.role not in SHARED]
    return sorted(own, key=lambda a: order(a.address))


def build_links(
    ports: Sequence[Port],
    addresses: Mapping[int, Sequence[Address]],
    statuses: frozenset[str],
    bond_mode: str,
    complain: Callable[[str, str], None],
) -> dict[str, Link]:
    """A host's links by name, without management controllers.

    :param addresses: port id: its addresses
    :param complain: called with port and problem
    """
    own = sorted((p for p in ports if not p.mgmt_only), key=lambda p: p.name)
    by_id = {p.id: p for p in own}
    result: dict[str, Link] = {}
    for port in own:
        if port.name in result:
            complain(port.name, "NetBox has two interfaces with this name")
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
                complain(port.name, "its parent is not an interface of this host")
            elif number is None:
                complain(port.name, "has no VLAN in NetBox: set its untagged VLAN")
            else:
                values |= {"parent": parent.name, "vlan": number}
        result[port.name] = Link(**values)
    return result


def is_loopback(address: Address) -> bool:
    """Whether it is a loopback address, which needs no prefix."""
    return address.role == LOOPBACK


def _kind(port: Port) -> Literal["physical", "bond", "vlan", "bridge", "dummy"]:
    if port.type == "lag":
        return "bond"
    if port.type == "bridge":
        return "bridge"
    if port.parent is not None:
        return "vlan"
    return "dummy" if port.type == "virtual" else "physical"
