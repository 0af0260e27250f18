# SPDX-License-Identifier: Apache-2.0
"""`scs serve`: the page of a region, for operators, and its public status page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli._options import EnvironmentOption, console
from scs_deploy.cli._region import load_for_reading

if TYPE_CHECKING:
    from scs_deploy.environment.environment import Environment

Listen = Annotated[
    str, typer.Option("--listen", metavar="HOST:PORT", help="Address and port; without it, only this machine sees it.")
]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="NAME", help="Further name or address in the page's certificate; can be repeated."),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--certificate", metavar="FILE", help="Own certificate with its chain, PEM. Default: the region's CA."
    ),
]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Key of --certificate, PEM.")]
SetPassword = Annotated[
    bool,
    typer.Option("--set-password", help="Set the page's password: asked on a terminal, or a line of standard input."),
]
PublicOnly = Annotated[bool, typer.Option("--public-only", help="Serve the public status page alone, without login.")]
Install = Annotated[
    bool, typer.Option("--install", help="Have systemd serve the page with these options, now and after each start.")
]
Remove = Annotated[bool, typer.Option("--remove", help="Stop and remove what --install set up.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs serve --set-password; scs serve --listen 192.0.2.1:8443")(serve)


def serve(
    listen: Listen = "127.0.0.1:8443",
    name: Names = None,
    certificate: Certificate = None,
    key: Key = None,
    set_password: SetPassword = False,
    public_only: PublicOnly = False,
    install: Install = False,
    remove: Remove = False,
    environment: EnvironmentOption = None,
) -> None:
    """Serve a page that shows the region: hosts, services, drift, runs, alerts, backups. Changes nothing.

    Operators log in with its password. Everybody sees its public status page, /status: which APIs answer, and what
    announcements.yml says. Runs until Ctrl-C.
    """
    from scs_deploy.environment.environment import load as load_environment

    if sum((set_password, install, remove)) > 1:
        raise RefusedError("--set-password, --install and --remove cannot be combined", "one after the other")
    if set_password:
        _set_password(load_environment(environment))
        return
    if remove:
        _remove(load_environment(environment))
        return
    from scs_deploy.api import server

    wanted = server.Serving(
        listen=listen, names=tuple(name or ()), certificate=certificate, key=key, public_only=public_only
    )
    region = load_for_reading(environment)
    if install:
        _install(region.environment, wanted)
        return

    def ready(url: str) -> None:
        console.print(f"serving {region.environment.name} at {url}", soft_wrap=True)
        console.print("stop with Ctrl-C", style="dim")
        # a log or a script reads it while the page goes on
        sys.stdout.flush()

    server.serve(region, wanted, ready)


def _set_password(environment: Environment) -> None:
    from scs_deploy.api.access import set_password

    file = set_password(environment, _asked())
    console.print(f"[green]set[/]: its hash is in {file}; open sessions end", soft_wrap=True)


def _asked() -> str:
    """A password: from the terminal without echo, twice, or the first line of standard input."""
    import getpass

    if not sys.stdin.isatty():
        return sys.stdin.readline(4096).rstrip("\r\n")
    first = getpass.getpass("password: ")
    if first != getpass.getpass("again: "):
        raise RefusedError("the passwords differ", "run the command again")
    return first


def _install(environment: Environment, wanted: object) -> None:
    from scs_deploy.api import server, unit

    assert isinstance(wanted, server.Serving)
    for file in unit.install(environment, wanted):
        console.print(f"wrote {file}")
    console.print(f"status: systemctl status {unit.name(environment)}.service")


def _remove(environment: Environment) -> None:
    from scs_deploy.api import unit

    removed = unit.remove(environment)
    if not removed:
        raise RefusedError(f"{environment.name} has no page that systemd serves", "scs serve --install")
    for file in removed:
        console.print(f"removed {file}")
