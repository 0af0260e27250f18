# SPDX-License-Identifier: Apache-2.0
"""How commands ask before they change a region."""

from __future__ import annotations

import sys

import typer

from scs_deploy.base.errors import RefusedError


def check_terminal(yes: bool) -> None:
    """Refuse early a command that would have to ask, where no terminal is attached.

    :raises RefusedError: there is no terminal
    """
    if not yes and not sys.stdin.isatty():
        raise RefusedError("confirmation required, but no terminal is attached", "add --yes")


def ask(question: str, yes: bool) -> None:
    """Ask, unless the answer was given on the command line.

    :raises RefusedError: there is no terminal
    :raises typer.Exit: the answer is no: exit code 1, nothing was changed
    """
    check_terminal(yes)
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)
