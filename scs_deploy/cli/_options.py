# SPDX-License-Identifier: Apache-2.0
"""Options, JSON output and the console that commands share."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from scs_deploy.base.heartbeat import Heartbeat

ENDLESS = 10_000
"""Columns; longer than any line."""

# a word between colons is no emoji, but a part of an address
console = Console(highlight=False, emoji=False)
if not console.is_terminal:
    # files and pipes have no width: lines stay whole
    console.width = ENDLESS
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
if not errors.is_terminal:
    errors.width = ENDLESS

EnvironmentOption = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        metavar="REGION",
        help="Region to work on. Default: SCS_ENVIRONMENT, `scs env use`, or the only one.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


class Waiting:
    """What a command waits for: a spinner on the terminal; in a pipe, a line on stderr every ten seconds."""

    def __init__(self, what: str) -> None:
        self._spinner = errors.status(escape(what)) if errors.is_terminal else None
        self._heartbeat = Heartbeat(lambda line: errors.print(line, markup=False))
        self._heartbeat.doing(what)

    def __enter__(self) -> Waiting:
        if self._spinner:
            self._spinner.start()
        else:
            self._heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._spinner:
            self._spinner.stop()
        else:
            self._heartbeat.stop()

    def update(self, what: str) -> None:
        """It waits for something else now."""
        if self._spinner:
            self._spinner.update(escape(what))
        self._heartbeat.doing(what)


def command_line() -> str:
    """This command as it was typed, for the record of its run."""
    return shlex.join(["scs", *sys.argv[1:]])


def print_json(value: Any) -> None:
    """One JSON document on stdout, nothing else."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, default=str))
