# SPDX-License-Identifier: Apache-2.0
"""`scs console`: a shell on a host."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli._options import EnvironmentOption
from scs_deploy.cli._region import warn
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.environment import load as load_environment
from scs_deploy.environment.own import load_catalog
from scs_deploy.inventory.model import Inventory
from scs_deploy.inventory.ssh import ssh_command


def register(app: typer.Typer) -> None:
    """Add `scs console`."""
    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("console", context_settings=settings, epilog="Example: scs console testbed-1 docker ps")(console)


def console(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Name in the inventory.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Command to run. Default: a shell.")
    ] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Open a shell on a host of the region, or run a command there.

    Put options of scs before HOST; everything after it is the command.
    """
    connect(load_environment(environment), host, command or ())


def connect(environment: Environment, name: str, command: Sequence[str]) -> NoReturn:
    """Replace this process with ssh.

    :raises RefusedError: the inventory has no such host, or the environment has no SSH key
    """
    inventory = load_inventory(environment)
    if name not in inventory.hosts:
        raise RefusedError(f"{environment.inventory}: no host '{name}'", f"there are: {', '.join(inventory.hosts)}")
    sharing.check_may_connect(environment)
    if not environment.ssh_key.is_file():
        hint = "scs testbed up creates it" if environment.settings.testbed else "put the key there, mode 0600"
        raise RefusedError(f"{environment.ssh_key}: no SSH key", hint)
    arguments = ssh_command(environment, inventory.hosts[name], command, sys.stdin.isatty())
    sys.stdout.flush()
    os.execvp(arguments[0], arguments)  # noqa: S606 - the terminal becomes ssh's


def load_inventory(environment: Environment) -> Inventory:
    """The inventory alone, so that a shell is available even if the region's catalog and release disagree."""
    from scs_deploy.inventory import source

    catalog = load_catalog(environment)
    warn(catalog.left_out)
    return source.load(environment, source.variables(catalog))
