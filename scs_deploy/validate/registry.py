# SPDX-License-Identifier: Apache-2.0
"""The named checks: their requirements and their order."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scs_deploy.base.errors import RefusedError
from scs_deploy.validate.region import Region


class CheckFailedError(Exception):
    """Raised by a failed check, with the problem in one line."""


class NotApplicableError(Exception):
    """Raised by a check that does not apply to this region, with the reason in one line."""


@dataclass(frozen=True)
class Outcome:
    """The result of a successful check."""

    message: str = ""
    samples: Sequence[float] = field(default=())


@dataclass(frozen=True)
class Check:
    """A check. `budget`: maximum p95 of its samples in seconds; `creates`: whether it creates resources."""

    name: str
    description: str
    run: Callable[[Region], Outcome]
    requires: tuple[str, ...] = ()
    budget: float | None = None
    creates: bool = False


CHECKS: dict[str, Check] = {}
"""Checks by name, in execution order. The modules of scs_deploy.validate.checks register them."""


def check(
    name: str, *, requires: tuple[str, ...] = (), budget: float | None = None, creates: bool = False
) -> Callable[[Callable[[Region], Outcome]], Callable[[Region], Outcome]]:
    """Register a function as a check. The first line of its docstring is the description."""

    def register(function: Callable[[Region], Outcome]) -> Callable[[Region], Outcome]:
        for needed in requires:
            if needed not in CHECKS:
                raise ValueError(f"check {name} requires {needed}, which is not registered before it")
        summary = (function.__doc__ or "").strip().splitlines()[0]
        CHECKS[name] = Check(name, summary, function, requires, budget, creates)
        return function

    return register


def select(names: Sequence[str], checks: dict[str, Check]) -> list[Check]:
    """The named checks (default: all) and the checks that they require, in order.

    :raises RefusedError: unknown check
    """
    wanted: set[str] = set()
    todo = list(names or checks)
    while todo:
        name = todo.pop()
        if name not in checks:
            close = difflib.get_close_matches(name, checks, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else f"available: {', '.join(checks)}"
            raise RefusedError(f"no check '{name}'", hint)
        if name not in wanted:
            wanted.add(name)
            todo.extend(checks[name].requires)
    return [check for name, check in checks.items() if name in wanted]
