# SPDX-License-Identifier: Apache-2.0
"""All checks in order, with whatever of them is possible: a broken part never hides the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.plural import counted
from scs_deploy.doctor import hosts, machine, region, storage
from scs_deploy.doctor.model import Check, failed, ok, warning
from scs_deploy.environment import environment as environments
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import certificates
from scs_deploy.operations.certificates import Entry
from scs_deploy.region.hidden import without_secrets
from scs_deploy.region.region import Region


def manager() -> Iterator[Check]:
    """The checks of the manager alone."""
    yield from machine.checks()


def everything(name: str | None, only: Sequence[str] = ()) -> Iterator[Check]:
    """The checks of the manager, of a region and of its hosts.

    :param name: of the environment; default: the selected one
    :param only: hosts; empty: all
    :raises RefusedError: no such environment or host, or none is selected
    """
    name = name or environments.current()
    if not (environments.folder(name) / "environment.yml").is_file():
        environments.load(name)
    yield from machine.checks()
    try:
        environment = environments.load(name)
    except ScsError as error:
        yield failed("environment", error.message, error.hint or "correct the file, then scs env check")
        return
    yield from region.of_files(environment)
    try:
        loaded = Region.load(name)
    except ScsError as error:
        yield failed("description", error.message, error.hint or "scs env check")
        return
    yield ok("description", f"release {environment.settings.release}, {counted(len(loaded.inventory.hosts), 'host')}")
    chosen = sorted(loaded.select_hosts(only))
    yield from region.of_names(loaded)
    yield region.of_registry(loaded)
    if sharing.secrets_are_hidden(environment):
        user = sharing.user_name(os.geteuid())
        yield warning("hosts", f"not checked: user {user} may not read secrets and keys", "sudo scs doctor")
        return
    yield from _inside(environment, loaded, chosen)


def _inside(environment: Environment, loaded: Region, chosen: Sequence[str]) -> Iterator[Check]:
    """What needs secrets, then the hosts, which can be asked even if the secrets cannot be read."""
    secrets = region.vault(loaded)
    yield secrets
    issued: list[Entry] = []
    try:
        issued = certificates.known(loaded)
        if not secrets.remedy:
            yield from region.of_certificates(loaded, issued)
    except ScsError as error:
        yield failed("certificates", error.message, error.hint)
    try:
        sharing.check_may_connect(environment)
        usable = without_secrets(loaded) if secrets.remedy else loaded
        yield from hosts.checks(usable, chosen, {e.name: e for e in issued if e.kind == "issued" and e.ends})
        yield from storage.checks(usable)
    except RefusedError as error:
        yield failed("hosts", error.message, error.hint)
