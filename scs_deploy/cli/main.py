# SPDX-License-Identifier: Apache-2.0
"""The `scs` command. Each subcommand is a module of this package; this module loads them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from scs_deploy.base import variables

app = typer.Typer(
    name="scs",
    help="Deploys, upgrades and repairs a Sovereign Cloud Stack region.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

COMMANDS = (
    "env",
    "inventory",
    "secrets",
    "certs",
    "images",
    "testbed",
    "bootstrap",
    "plan",
    "apply",
    "upgrade",
    "rollback",
    "recover",
    "backup",
    "status",
    "doctor",
    "service",
    "node",
    "host",
    "logs",
    "config",
    "runs",
    "validate",
    "openstack",
    "console",
    "version",
)
"""Modules of scs_deploy.cli; each has `register(app)`."""


INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as in shells."""


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


def needed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The modules to import for a command line: only the command's own one if its name is known, to start faster."""
    if tuple(arguments) == ("--version",):
        return ()
    return (arguments[0],) if arguments and arguments[0] in COMMANDS else COMMANDS


def _words() -> list[str]:
    """The arguments of this process, or those that a shell wants to complete, without the last word."""
    if "_SCS_COMPLETE" in os.environ and "COMP_WORDS" in os.environ:
        return os.environ["COMP_WORDS"].split()[1 : int(os.environ.get("COMP_CWORD", "1"))]
    return sys.argv[1:]


def _report(error: Exception) -> int:
    """Print an error on one line, with --json as an object; returns the exit code."""
    import logging

    from scs_deploy.base.failures import explained

    said = explained(error)
    if said is not error:
        logging.getLogger("scs").debug("%s", said.message, exc_info=error)
    if "--json" in sys.argv:
        import json

        print(json.dumps({"error": said.message, "hint": said.hint, "exit_code": said.exit_code}), file=sys.stderr)
    else:
        from rich.console import Console
        from rich.markup import escape

        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(str(said))}")
    return said.exit_code


def main() -> None:
    """Entry point. Prints an error as one line on stderr and exits with its code."""
    variables.adopt()
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character shows a question mark
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        for name in needed(_words()):
            importlib.import_module(f"scs_deploy.cli.{name}").register(app)
        app()
    except Exception as error:  # noqa: BLE001 - no error may reach the operator as a traceback
        sys.exit(_report(error))
    except SystemExit as end:
        # typer turns KeyboardInterrupt into this
        if end.code == INTERRUPTED:
            print("interrupted; run the same command again to continue", file=sys.stderr)
        raise
