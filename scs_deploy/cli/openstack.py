# SPDX-License-Identifier: Apache-2.0
"""`scs openstack ...`: the OpenStack client with this region's credentials."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from scs_deploy.base.errors import ScsError
from scs_deploy.cli._options import EnvironmentOption


def register(app: typer.Typer) -> None:
    """Add `scs openstack`."""
    app.command(
        "openstack",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        epilog="Example: scs openstack server list --all-projects",
        options_metavar="[-e REGION]",
    )(openstack)


def openstack(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Passed on to `openstack`.")] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Run the OpenStack client as the region's administrator, and return its exit code.

    The cloud is in state/clouds.yaml of the environment, the password in state/secure.yaml (both mode 0600).
    """
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.secrets import clouds

    region = load_environment(environment)
    clouds.write(region)
    # the client of this virtual environment, whatever PATH says
    program = Path(sys.executable).with_name("openstack")
    if not program.is_file():
        raise ScsError(f"{program}: no such program", "install python-openstackclient into this virtual environment")
    sys.stdout.flush()
    # replaces this process, so that signals, terminal and exit code are the client's
    os.execve(program, ["openstack", *(arguments or [])], clouds.variables(region))  # noqa: S606 - no shell is meant
