# SPDX-License-Identifier: Apache-2.0
"""The command `scs` itself: its options, and the tree to which the modules of commands add theirs."""

from __future__ import annotations

from typing import Annotated

import typer

from scs_deploy.cli._outline import HELP

app = typer.Typer(
    name="scs",
    help="Deploys, upgrades and repairs a Sovereign Cloud Stack region.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": list(HELP)},
)


def _version(wanted: bool) -> None:
    if wanted:
        from scs_deploy.base.version import version

        typer.echo(f"scs {version()}")
        raise typer.Exit


@app.callback()
def _scs(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of scs and exit.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Print the log on stderr instead of writing it to state/scs.log of the region."),
    ] = False,
) -> None:
    if debug:
        from scs_deploy.state.journal import logging_to_terminal

        logging_to_terminal()
