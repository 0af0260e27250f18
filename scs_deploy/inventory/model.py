# SPDX-License-Identifier: Apache-2.0
"""One model for every inventory source: hosts with everything that rendering needs. No facts are gathered."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field, model_validator

from scs_deploy.base.model import IPAddress, Model, Written
from scs_deploy.inventory.links import Link
from scs_deploy.spec.container import ALL

WITH = "/"
"""In a group of a container that exists once for each disk: `storage/osd:sdb`, its hosts with that role and disk."""


def narrowed(group: str, role: str, disk: str) -> str:
    """The hosts of a group that have a disk of this name and role."""
    return f"{group}{WITH}{role}:{disk}"


def apart(group: str) -> tuple[str, str, str]:
    """Group, role and disk of `narrowed`."""
    name, _, rest = group.partition(WITH)
    role, _, disk = rest.partition(":")
    return name, role, disk


class Interface(Written):
    """A host's interface on a network of the environment."""

    interface: str = Field(description="Linux interface name")
    address: IPAddress | None = Field(default=None, description="absent: attached without an address")


class Disk(Written):
    """A disk that a service may use entirely: a block device, or in a testbed a file."""

    name: str = Field(
        default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?$",
        description="unique on the host; containers and data are named after it; default: the last part of its path",
    )  # fmt: skip
    device: str | None = Field(
        default=None, pattern="^/dev/.+$", description="path, preferably in /dev/disk/by-id, which stays the same"
    )
    file: str | None = Field(
        default=None, pattern=r"^(/[A-Za-z0-9._-]+){2,}$",
        description="instead of a device, in testbeds only: a sparse file, in a folder of its own",
    )  # fmt: skip
    size_gib: int | None = Field(default=None, ge=1, description="of the file; of a device for information")
    role: Literal["osd", "db", "wal"] = Field(
        default="osd",
        description="`osd` holds objects; `db` and `wal` hold metadata and the log of one osd",
    )
    db: str | None = Field(default=None, description="of an osd: name of the host's disk of role `db` that it uses")
    wal: str | None = Field(default=None, description="of an osd: name of the host's disk of role `wal` that it uses")
    device_class: str | None = Field(default=None, description="Ceph device class: hdd, ssd, nvme")
    rotational: bool | None = Field(default=None, description="whether it has rotating platters")
    model: str | None = Field(default=None, description="for information")
    serial: str | None = Field(default=None, description="for information")

    @property
    def path(self) -> str:
        """Of the device or the file."""
        return self.device or self.file or ""

    @property
    def folder(self) -> str:
        """The file's; empty for a device."""
        return str(PurePosixPath(self.file).parent) if self.file else ""

    @model_validator(mode="before")
    @classmethod
    def _refuse_encryption(cls, data: Any) -> Any:
        for key in ("dmcrypt", "encrypted", "luks"):
            if isinstance(data, dict) and key in data:
                raise ValueError(
                    f"{key}: scs does not use dm-crypt on disks; remove the key, and encrypt volumes by their type"
                )
        return data

    @model_validator(mode="after")
    def _complete(self) -> Disk:
        if (self.device is None) == (self.file is None):
            raise ValueError("give exactly one of device and file")
        if self.file and self.size_gib is None:
            raise ValueError("size_gib: a file needs a size")
        if self.role != "osd" and (self.db or self.wal):
            raise ValueError(f"db and wal are keys of an osd, and this disk's role is {self.role}")
        if not self.name:
            object.__setattr__(self, "name", default_name(self.path))
        return self


def default_name(path: str) -> str:
    """The name of a disk that has none: the last part of its path, in what a container's name may have."""
    name = re.sub(r"[^a-z0-9_-]+", "-", PurePosixPath(path).name.lower()).strip("-_")
    return name[:63] or "disk"


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
    rack: str | None = Field(
        default=None, pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="rack: a failure domain of Ceph's pools"
    )
    disks: tuple[Disk, ...] = Field(default=(), description="block devices for storage services")
    oob: IPAddress | None = Field(default=None, description="address of the management controller (BMC)")
    origin: str | None = Field(default=None, description="source object in NetBox, e.g. `dcim/devices/7`")

    def runs(self, groups: Collection[str]) -> bool:
        """Whether it runs what runs on these groups, or on those of their hosts that have a disk."""
        return ALL in groups or any(g in self.groups or (WITH in g and self._has(g)) for g in groups)

    def disks_of(self, roles: Collection[str]) -> tuple[Disk, ...]:
        """Its disks of some roles; none given: all."""
        return tuple(d for d in self.disks if not roles or d.role in roles)

    def _has(self, narrowed: str) -> bool:
        group, role, disk = apart(narrowed)
        return (group == ALL or group in self.groups) and any(
            d.name == disk and role in ("", d.role) for d in self.disks
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own addresses on all networks."""
        return tuple(dict.fromkeys(str(i.address) for i in self.networks.values() if i.address))

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
        if len(names) == 1 and WITH not in names[0]:
            return self._members.get(names[0], ())
        return tuple(host for _, host in sorted(self.hosts.items()) if host.runs(names))

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
