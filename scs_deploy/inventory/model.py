# SPDX-License-Identifier: Apache-2.0
"""One model for every inventory source: hosts with all that rendering needs, no facts gathered."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.environment.environment import IPAddress
from scs_deploy.inventory.links import Link


class Interface(Model):
    """A host's place on a network of the environment."""

    interface: str = Field(description="Linux interface name")
    address: IPAddress | None = Field(default=None, description="absent: attached without an address")


class Disk(Model):
    """A block device that a service may take whole."""

    device: str = Field(pattern="^/dev/.+$", description="path, best below /dev/disk/by-id")
    device_class: str | None = Field(default=None, description="as Ceph has it: hdd, ssd, nvme")


class Host(Model):
    """A host and its variables, precedence resolved."""

    name: str = Field(description="the key of the host")
    address: str = Field(description="ansible_host: where SSH connects to")
    networks: dict[str, Interface] = Field(description="network of environment.yml: its place there")
    groups: tuple[str, ...] = Field(description="all groups it is in, parents included, sorted")
    settings: dict[str, Any] = Field(default_factory=dict, description="operator variables for services, templated")
    connection: dict[str, Any] = Field(default_factory=dict, description="ansible_* variables")
    links: dict[str, Link] = Field(default_factory=dict, description="its network interfaces; empty: not described")
    zone: str | None = Field(default=None, description="availability zone")
    disks: tuple[Disk, ...] = Field(default=(), description="block devices for storage services")
    oob: IPAddress | None = Field(default=None, description="address of its management controller (BMC)")
    origin: str | None = Field(default=None, description="the object that it was made of, as `dcim/devices/7`")

    @property
    def management(self) -> str:
        """Address on the management network, as text."""
        return str(self.networks["management"].address)


class Inventory(Model):
    """All hosts of a region, by name."""

    hosts: dict[str, Host]
    groups: dict[str, tuple[str, ...]] = Field(description="group: its hosts, sorted by name")
    hash: str = Field(default="", description="of all that the source said; names this inventory in records of runs")

    def group(self, name: str) -> tuple[Host, ...]:
        """The hosts of a group, sorted by name; empty for an unknown group."""
        return self._members.get(name, ())

    @cached_property
    def _members(self) -> dict[str, tuple[Host, ...]]:
        # templates ask for the same few groups on every host
        return {group: tuple(self.hosts[h] for h in hosts) for group, hosts in self.groups.items()}


def digest(data: Any) -> str:
    """`sha256:<hex>` of JSON data, keys sorted."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def grouped(hosts: dict[str, Host]) -> Inventory:
    """An inventory of the hosts, sorted, groups taken from the hosts."""
    groups: dict[str, list[str]] = {}
    for name in sorted(hosts):
        for group in hosts[name].groups:
            groups.setdefault(group, []).append(name)
    return Inventory(hosts=dict(sorted(hosts.items())), groups={g: tuple(groups[g]) for g in sorted(groups)})
