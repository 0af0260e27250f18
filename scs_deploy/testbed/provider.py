# SPDX-License-Identifier: Apache-2.0
"""What a testbed provider is: it turns an environment's inventory into hosts that answer over SSH."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Inventory

Report = Callable[[str], None]
"""Takes one line about what happens now."""


class HostStatus(Model):
    """What is known of one testbed host."""

    name: str
    state: str
    """`running`, `stopped` or `absent`"""
    address: str
    memory: int | None = None
    """bytes that its processes use; None when it does not run"""


class Provider(Protocol):
    """One way to make hosts. The inventory is the layout: one host each, attached to the networks it names."""

    def prepare(self, report: Report) -> None:
        """Give the manager its addresses in the testbed, where the registry listens before any host is.

        :raises RefusedError: the machine cannot hold this testbed; nothing was changed
        """

    def up(self, report: Report) -> None:
        """Create what is missing, start what is stopped, wait until every host is reachable.

        :raises RefusedError: the machine cannot hold this testbed; nothing was changed
        :raises ScsError: a host did not come up
        """

    def down(self, report: Report) -> None:
        """Remove every host, network and volume of this testbed, also of an interrupted `up`."""

    def status(self) -> tuple[HostStatus, ...]:
        """The state of every host of the inventory."""


PROVIDERS = {"containers": "scs_deploy.testbed.containers:Containers"}
"""name: class, made with (environment, inventory); imported when used, so a provider's libraries stay its own matter"""


def load(environment: Environment, inventory: Inventory) -> Provider:
    """The provider that the environment names.

    :raises RefusedError: the environment is no testbed, or names an unknown provider
    """
    settings = environment.settings.testbed
    if settings is None:
        raise RefusedError(
            f"{environment.file}: no key 'testbed': this region's hosts are not for scs to make or remove"
        )
    if settings.provider not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise RefusedError(
            f"{environment.file}: testbed.provider: no provider '{settings.provider}'", f"there are: {known}"
        )
    module, _, name = PROVIDERS[settings.provider].partition(":")
    provider: Provider = getattr(importlib.import_module(module), name)(environment, inventory)
    return provider
