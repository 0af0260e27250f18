# SPDX-License-Identifier: Apache-2.0
"""`scs openstack ...`: the OpenStack client with this region's credentials."""

from __future__ import annotations

from typing import Annotated

import typer

from scs_deploy.cli import _client
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
    _client.replace(arguments or [], clouds.variables(region))
