# SPDX-License-Identifier: Apache-2.0
"""Shows a plan and asks for confirmation before a command changes a region."""

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
    """Refuse a command that needs confirmation, before it does anything, if no terminal is attached.

    :param as_json: a script reads standard output, so the command cannot ask there
    :raises RefusedError: no terminal is attached
    """
    if not yes and (as_json or not sys.stdin.isatty()):
        raise RefusedError("confirmation required, but no terminal is attached", "add --yes")


def confirm_or_exit(question: str, yes: bool) -> None:
    """Ask the question, unless --yes answers it.

    :raises RefusedError: no terminal is attached
    :raises typer.Exit: the operator says no; exit code 1
    """
    check_terminal(yes)
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)


def plan_confirmation(region: Region, progress: RunProgress, question: str, yes: bool) -> Callable[[Any], bool]:
    """A function that shows an operation's plan and asks for confirmation, unless --yes was given.

    :param question: for plans that have no question of their own
    """

    from scs_deploy.cli._plans import print_any_plan

    def confirm(plan: object) -> bool:
        with progress.paused():
            own_question = print_any_plan(region, plan)
            if own_question is not None:
                confirm_or_exit(own_question or question, yes)
        return True

    return confirm
