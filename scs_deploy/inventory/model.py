# SPDX-License-Identifier: Apache-2.0
"""One model for every inventory source: hosts with all that rendering needs, no facts gathered."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scs_deploy.environment import IPAddress
from scs_deploy.model import Model


class Interface(Model):
    """A host's place on a network of the environment."""

    interface: str = Field(description="Linux interface name")
    address: IPAddress | None = Field(default=None, description="absent: attached without an address")


class Host(Model):
    """A host and its variables, precedence resolved."""

    name: str
    address: str = Field(description="ansible_host: where SSH connects to")
    networks: dict[str, Interface]
    groups: tuple[str, ...] = Field(description="all groups it is in, parents included, sorted")
    settings: dict[str, Any] = Field(description="operator variables for services, templated")
    connection: dict[str, Any] = Field(default_factory=dict, description="ansible_* variables")

    @property
    def management(self) -> str:
        """Address on the management network, as text."""
        return str(self.networks["management"].address)


class Inventory(Model):
    """All hosts of a region, by name."""

    hosts: dict[str, Host]
    groups: dict[str, tuple[str, ...]] = Field(description="group: its hosts, sorted by name")

    def group(self, name: str) -> tuple[Host, ...]:
        """The hosts of a group, sorted by name; empty for an unknown group."""
        return tuple(self.hosts[h] for h in self.groups.get(name, ()))
