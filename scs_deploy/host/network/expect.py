# SPDX-License-Identifier: Apache-2.0
"""The state that the program on the host checks after a change, in the terms of `ip -json` and `networkctl`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from scs_deploy.host.network import networkd
from scs_deploy.inventory.links import Link


def links(given: Mapping[str, Link]) -> dict[str, dict[str, Any]]:
    """The expected state of each link: kind, mac, mtu, enabled, dhcp, addresses, routes as (destination, gateway),
    master, portless.
    """
    master = {member: name for name, link in given.items() for member in link.members}
    return {
        name: {
            "kind": link.kind,
            "mac": link.mac,
            "mtu": link.mtu,
            "enabled": link.enabled,
            "dhcp": link.dhcp,
            "addresses": [str(a) for a in link.addresses],
            "routes": _routes(link) if link.enabled else [],
            "master": master.get(name),
            "portless": link.kind == "bridge" and not link.members,
        }
        for name, link in given.items()
    }


def network_files(given: Mapping[str, Link], renderer: str) -> dict[str, str]:
    """The .network file that networkd is expected to use for each link."""
    folder = networkd.FOLDER if renderer == "networkd" else "/run/systemd/network"
    prefix = networkd.PREFIX if renderer == "networkd" else "10-netplan-"
    return {name: f"{folder}/{prefix}{name}.network" for name in given}


def _routes(link: Link) -> list[tuple[str, str]]:
    defaults = [("default", str(g)) for g in (link.gateway4, link.gateway6) if g is not None]
    return defaults + [(_destination(r.to), str(r.via)) for r in link.routes]


def _destination(network: IPv4Network | IPv6Network) -> str:
    if network.prefixlen == 0:
        return "default"
    # `ip` shows host routes without a prefix length
    return str(network.network_address) if network.num_addresses == 1 else str(network)
