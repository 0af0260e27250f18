# SPDX-License-Identifier: Apache-2.0
"""Shows a plan and asks for confirmation before a command changes a region."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.plan.change import REGION
from scs_deploy.spec.container import Impact

if TYPE_CHECKING:
    from scs_deploy.cli._progress import RunProgress
    from scs_deploy.region.region import Region


FELT = (Impact.API, Impact.CONTROL, Impact.DATA_PLANE)
"""Impacts that users can notice."""


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


def question_of(verb: str, region: Region, plan: object) -> str:
    """What the operator agrees to: `apply 3 changes on 2 hosts of berlin (worst impact: api; ...)?`"""
    from scs_deploy.plan.region import Plan

    if not isinstance(plan, Plan):
        return f"{verb} in region {region.environment.name}?"
    hosts = len({c.host for c in plan.changes} - {REGION})
    worst = max((c.impact for c in plan.changes), key=list(Impact).index)
    where = f"on {counted(hosts, 'host')} of" if hosts else "in"
    noticed = _noticed(region) if worst in FELT else ""
    return (
        f"{verb} {counted(len(plan.changes), 'change')} {where} {region.environment.name} "
        f"(worst impact: {worst.value}{noticed})?"
    )


def _noticed(region: Region) -> str:
    """What users noticed of the latest run that was measured, as `; users noticed a gap of 1.9 s last time`."""
    from scs_deploy.state.runs import recorded

    with recorded(region.environment) as store:
        for run in store.list(20, changing=True):
            if summaries := store.probes(run.id):
                gap = max(s.gap.seconds for s in summaries)
                return f"; the longest gap in the latest measured run was {gap:.1f} s"
    return ""


def plan_confirmation(region: Region, progress: RunProgress, verb: str, yes: bool) -> Callable[[Any], bool]:
    """A function that shows an operation's plan and asks for confirmation, unless --yes was given.

    :param verb: what is done with the plan, e.g. `apply`
    """

    from scs_deploy.cli._plans import print_any_plan

    def confirm(plan: object) -> bool:
        with progress.paused():
            own_question = print_any_plan(region, plan)
            if own_question is not None and not yes:
                confirm_or_exit(own_question or question_of(verb, region, plan), yes)
        return True

    return confirm
