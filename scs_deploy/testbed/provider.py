# SPDX-License-Identifier: Apache-2.0
"""The interface of testbed providers, which turn an environment's inventory into hosts that are reachable over SSH."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Inventory

Report = Callable[[str], None]
"""Called with one line of progress."""


class HostStatus(Model):
    """The state of one testbed host."""

    name: str
    state: str
    """`running`, `stopped` or `absent`"""
    address: str
    memory: int | None = None
    """bytes that its processes use; None if it is not running"""


class Provider(Protocol):
    """Creates hosts. The inventory is the layout: one testbed host per inventory host, attached to its networks."""

    def prepare(self, report: Report) -> None:
        """Give the manager its addresses in the testbed. The registry listens on them before any host exists.

        :raises RefusedError: the machine cannot run this testbed; nothing was changed
        """

    def up(self, report: Report) -> None:
        """Create missing hosts, start stopped ones, and wait until all are reachable.

        :raises RefusedError: the machine cannot run this testbed; nothing was changed
        :raises ScsError: a host did not come up
        """

    def down(self, report: Report) -> None:
        """Remove all hosts, networks and volumes of this testbed, including those of an interrupted `up`."""

    def status(self) -> tuple[HostStatus, ...]:
        """The state of every host in the inventory."""


PROVIDERS = {"containers": "scs_deploy.testbed.containers:Containers"}
"""name: class, called with (environment, inventory). Imported on use, so that only its users need its libraries."""


def load(environment: Environment, inventory: Inventory) -> Provider:
    """The provider that the environment names.

    :raises RefusedError: the environment is not a testbed, or names an unknown provider
    """
    settings = environment.settings.testbed
    if settings is None:
        raise RefusedError(
            f"{environment.file}: no key 'testbed': this is not a testbed", "choose a testbed with --environment"
        )
    if settings.provider not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise RefusedError(
            f"{environment.file}: testbed.provider: no provider '{settings.provider}'", f"available: {known}"
        )
    module, _, name = PROVIDERS[settings.provider].partition(":")
    provider: Provider = getattr(importlib.import_module(module), name)(environment, inventory)
    return provider
