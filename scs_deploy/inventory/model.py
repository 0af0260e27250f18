# SPDX-License-Identifier: Apache-2.0
"""One model for every inventory source: hosts with everything that rendering needs. No facts are gathered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cached_property
from typing import Any

from pydantic import Field

from scs_deploy.base.model import IPAddress, Model, Written
from scs_deploy.inventory.links import Link
from scs_deploy.spec.container import ALL


class Interface(Written):
    """A host's interface on a network of the environment."""

    interface: str = Field(description="Linux interface name")
    address: IPAddress | None = Field(default=None, description="absent: attached without an address")


class Disk(Written):
    """A block device that a service may use entirely."""

    device: str = Field(pattern="^/dev/.+$", description="path, preferably in /dev/disk/by-id")
    device_class: str | None = Field(default=None, description="Ceph device class: hdd, ssd, nvme")


class Host(Model):
    """A host and its variables, with precedence resolved."""

    name: str = Field(description="name of the host")
    address: str = Field(description="address that SSH connects to (ansible_host)")
    networks: dict[str, Interface] = Field(description="network of environment.yml: the host's interface on it")
    groups: tuple[str, ...] = Field(description="all groups of the host, including parents, sorted")
    settings: dict[str, Any] = Field(default_factory=dict, description="operator variables for services, templated")
    connection: dict[str, Any] = Field(default_factory=dict, description="ansible_* variables")
    links: dict[str, Link] = Field(default_factory=dict, description="network interfaces; empty: not managed by scs")
    zone: str | None = Field(default=None, description="availability zone")
    disks: tuple[Disk, ...] = Field(default=(), description="block devices for storage services")
    oob: IPAddress | None = Field(default=None, description="address of the management controller (BMC)")
    origin: str | None = Field(default=None, description="source object in NetBox, e.g. `dcim/devices/7`")

    def runs(self, groups: Collection[str]) -> bool:
        """Whether it runs what runs on these groups."""
        return ALL in groups or not set(groups).isdisjoint(self.groups)

    @property
    def management(self) -> str:
        """Address on the management network, as a string."""
        return str(self.networks["management"].address)


class Inventory(Model):
    """All hosts of a region, by name."""

    hosts: dict[str, Host]
    groups: dict[str, tuple[str, ...]] = Field(description="group: its hosts, sorted by name")
    hash: str = Field(default="", description="hash of the content; identifies this inventory in run records")

    def group(self, *names: str) -> tuple[Host, ...]:
        """The hosts of a group, or of several, sorted by name; `all`: every host. Empty for an unknown group."""
        if len(names) == 1:
            return self._members.get(names[0], ())
        chosen = {host for name in names for host in self.groups.get(name, ())}
        return tuple(host for name, host in sorted(self.hosts.items()) if name in chosen)

    @cached_property
    def _members(self) -> dict[str, tuple[Host, ...]]:
        # templates request the same few groups for every host
        members = {group: tuple(self.hosts[h] for h in hosts) for group, hosts in self.groups.items()}
        return {**members, ALL: tuple(host for _, host in sorted(self.hosts.items()))}


def digest(data: Any) -> str:
    """`sha256:<hex>` of JSON data with sorted keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def grouped(hosts: dict[str, Host]) -> Inventory:
    """An inventory of the hosts, sorted by name. The groups are collected from the hosts."""
    groups: dict[str, list[str]] = {}
    for name in sorted(hosts):
        for group in hosts[name].groups:
            groups.setdefault(group, []).append(name)
    return Inventory(hosts=dict(sorted(hosts.items())), groups={g: tuple(groups[g]) for g in sorted(groups)})
