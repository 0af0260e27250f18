# SPDX-License-Identifier: Apache-2.0
"""A host's desired network interfaces, from any inventory source.

`link_checks.problems` checks ranges and relations between links and reports all problems at once. The model itself
rejects only values that cannot be parsed, such as an invalid address.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from scs_deploy.base.model import IPAddress, IPInterface, IPNetwork, Written

BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
"""The kernel's names, https://docs.kernel.org/networking/bonding.html"""

DEFAULT_BOND_MODE = "802.3ad"
DEFAULT_MTU = 1500
"""Bytes; the kernel's default for Ethernet links."""


class Route(Written):
    """A static route."""

    to: IPNetwork = Field(description="destination; 0.0.0.0/0 and ::/0 are default routes")
    via: IPAddress = Field(description="next hop")
    metric: int | None = Field(default=None, description="lower wins; absent: the kernel's default")


class Link(Written):
    """One desired network interface of a host. Its name is the key in the host's `links`."""

    kind: Literal["physical", "bond", "vlan", "bridge", "dummy"] = Field(
        default="physical", description="kind of interface"
    )
    mac: str | None = Field(
        default=None, description="physical: MAC address that identifies the port; others: MAC address to set"
    )
    mtu: int | None = Field(default=None, description="bytes; absent: the kernel's default, or the parent's MTU")
    addresses: tuple[IPInterface, ...] = Field(default=(), description="with prefix length, `192.0.2.1/24`")
    dhcp: bool = Field(default=False, description="get addresses by DHCP")
    accept_ra: bool = Field(default=False, description="get IPv6 addresses and routes from router advertisements")
    members: tuple[str, ...] = Field(default=(), description="bond, bridge: links that are its ports")
    mode: str | None = Field(default=None, description="bond: 802.3ad (default), active-backup, ...")
    parent: str | None = Field(default=None, description="vlan: link that carries it")
    vlan: int | None = Field(default=None, description="vlan: VLAN ID, 1 to 4094")
    gateway4: IPAddress | None = Field(default=None, description="IPv4 default gateway")
    gateway6: IPAddress | None = Field(default=None, description="IPv6 default gateway")
    routes: tuple[Route, ...] = Field(default=(), description="static routes through this link")
    nameservers: tuple[IPAddress, ...] = Field(default=(), description="DNS servers")
    enabled: bool = Field(default=True, description="false: the link is kept down")
    neighbour: str | None = Field(default=None, description="expected LLDP neighbour: `<switch>:<port>`")

    @field_validator("mac", mode="before")
    @classmethod
    def _one_spelling(cls, value: Any) -> Any:
        return value.strip().lower().replace("-", ":") if isinstance(value, str) else value

    @property
    def ports(self) -> tuple[str, ...]:
        """The links that this link is built on."""
        return (*self.members, *((self.parent,) if self.parent else ()))
