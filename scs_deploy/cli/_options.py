# SPDX-License-Identifier: Apache-2.0
"""Options, JSON output and the console that commands share."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console(highlight=False)
if not console.is_terminal:
    # files and pipes have no width: lines stay whole
    console.width = 200
errors = Console(stderr=True, highlight=False, soft_wrap=True)

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


def command_line() -> str:
    """This command as it was typed, for the record of its run."""
    return shlex.join(["scs", *sys.argv[1:]])


def print_json(value: Any) -> None:
    """One JSON document on stdout, nothing else."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, default=str))
