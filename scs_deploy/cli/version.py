# SPDX-License-Identifier: Apache-2.0
"""`scs version`: what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from scs_deploy.cli._options import JsonOption, print_json

if TYPE_CHECKING:
    from scs_deploy.base.about import About


def register(app: typer.Typer) -> None:
    """Add `scs version`."""
    app.command(epilog="Example: scs version --json")(version)


def version(json: JsonOption = False) -> None:
    """Show the version of scs and of what it works with, and the OpenStack releases it deploys."""
    from scs_deploy.base.about import about

    this = about()
    if json:
        print_json(this.model_dump(mode="json"))
    else:
        _print(this)


def _print(this: About) -> None:
    typer.echo(f"scs {this.version}")
    rows = {
        "installed in": str(this.root),
        "releases": ", ".join(this.releases),
        "collections": ", ".join(f"{n} {v}" for n, v in this.collections.items()),
        "works with": ", ".join(f"{n} {v}" for n, v in this.requirements.items()),
    }
    for name, value in rows.items():
        typer.echo(f"{name:14}{value}")
