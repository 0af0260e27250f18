# SPDX-License-Identifier: Apache-2.0
"""How commands show a plan and ask before they change a region."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from scs_deploy.base.errors import RefusedError

if TYPE_CHECKING:
    from scs_deploy.cli._progress import RunProgress
    from scs_deploy.region.region import Region


def check_terminal(yes: bool, as_json: bool = False) -> None:
    """Refuse early a command that would have to ask, where no terminal is attached.

    :param as_json: standard output is for a script: no question may stand there
    :raises RefusedError: there is no terminal
    """
    if not yes and (as_json or not sys.stdin.isatty()):
        raise RefusedError("confirmation required, but no terminal is attached", "add --yes")


def ask(question: str, yes: bool) -> None:
    """Ask, unless the answer was given on the command line.

    :raises RefusedError: there is no terminal
    :raises typer.Exit: the answer is no: exit code 1, nothing was changed
    """
    check_terminal(yes)
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)


def confirming(region: Region, progress: RunProgress, question: str, yes: bool) -> Callable[[Any], bool]:
    """What shows an operation's plan and asks, unless everything is agreed to beforehand.

    :param question: of a plan that is not one of a rotation or a release, which have their own
    """

    from scs_deploy.cli._plans import print_any_plan

    def confirm(plan: object) -> bool:
        with progress.paused():
            asked = print_any_plan(region, plan)
            if asked is not None:
                ask(asked or question, yes)
        return True

    return confirm
