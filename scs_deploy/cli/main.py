# SPDX-License-Identifier: Apache-2.0
"""The `scs` command. Each subcommand is a module of this package; this module loads them.

Help and completion need none of them: they read the outline of all commands, so that they answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scs_deploy.base import variables
from scs_deploy.cli import _client, _completion, _help, _outline

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
    "storage",
    "host",
    "logs",
    "alerts",
    "config",
    "runs",
    "report",
    "validate",
    "serve",
    "openstack",
    "console",
    "version",
)
"""Modules of scs_deploy.cli; each has `register(app)`."""


INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as in shells."""


def needed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The modules to import for a command line: only the command's own one if its name is known, to start faster."""
    if tuple(arguments) == ("--version",):
        return ()
    return (arguments[0],) if arguments and arguments[0] in COMMANDS else COMMANDS


def _asked_for_help(arguments: Sequence[str]) -> int | None:
    """Print the help that a command line asks for.

    :returns: the exit code; None: it asks for none, or the outline is not there, and typer has to say it
    """
    try:
        root = _outline.load()
    except (OSError, ValueError):
        return None
    place = _outline.locate(root, arguments)
    if place is None or place.pending:
        return None
    incomplete = bool(place.command["commands"]) and not place.command["bare"] and not place.ended
    if not place.help and not (incomplete and len(arguments) == len(place.path)):
        return None
    _help.show(("scs", *place.path), place.command)
    return 0 if place.help else 2


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


def _run() -> None:
    import importlib

    from scs_deploy.cli._root import app

    for name in needed(sys.argv[1:]):
        importlib.import_module(f"scs_deploy.cli.{name}").register(app)
    app(prog_name="scs")


def main() -> None:
    """Entry point. Prints an error as one line on stderr and exits with its code."""
    variables.adopt()
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character shows a question mark
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        if _completion.asked() and _completion.answer():
            return
        code = _asked_for_help(sys.argv[1:])
        if code is None:
            _client.start_at_once(sys.argv[1:])
            _run()
        sys.exit(code)
    except Exception as error:  # noqa: BLE001 - no error may reach the operator as a traceback
        sys.exit(_report(error))
    except SystemExit as end:
        # typer turns KeyboardInterrupt into this
        if end.code == INTERRUPTED:
            print("interrupted; run the same command again to continue", file=sys.stderr)
        raise
