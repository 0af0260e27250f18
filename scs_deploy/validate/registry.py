# SPDX-License-Identifier: Apache-2.0
"""The named checks: what each needs, and in which order they run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scs_deploy.base.errors import RefusedError
from scs_deploy.validate.region import Region


class CheckFailedError(Exception):
    """Raised by a check: what is wrong, in one line."""


class NotApplicableError(Exception):
    """Raised by a check that this region gives no ground for: why, in one line."""


@dataclass(frozen=True)
class Outcome:
    """What a check that worked has to tell."""

    message: str = ""
    samples: Sequence[float] = field(default=())


@dataclass(frozen=True)
class Check:
    """A check. `budget`: most that the p95 of its samples may be, in seconds; `creates`: makes things in the region."""

    name: str
    description: str
    run: Callable[[Region], Outcome]
    requires: tuple[str, ...] = ()
    budget: float | None = None
    creates: bool = False


CHECKS: dict[str, Check] = {}
"""By name, in the order they run; filled by the modules of scs_deploy.validate.checks."""


def check(
    name: str, *, requires: tuple[str, ...] = (), budget: float | None = None, creates: bool = False
) -> Callable[[Callable[[Region], Outcome]], Callable[[Region], Outcome]]:
    """Register a function as a check; its docstring's first line is its description."""

    def register(function: Callable[[Region], Outcome]) -> Callable[[Region], Outcome]:
        for needed in requires:
            if needed not in CHECKS:
                raise ValueError(f"check {name} requires {needed}, which is not registered before it")
        summary = (function.__doc__ or "").strip().splitlines()[0]
        CHECKS[name] = Check(name, summary, function, requires, budget, creates)
        return function

    return register


def select(names: Sequence[str], checks: dict[str, Check]) -> list[Check]:
    """The named checks and all that they require, in order; all when nothing is named.

    :raises RefusedError: there is no check of that name
    """
    wanted: set[str] = set()
    todo = list(names or checks)
    while todo:
        name = todo.pop()
        if name not in checks:
            close = difflib.get_close_matches(name, checks, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else f"there are: {', '.join(checks)}"
            raise RefusedError(f"no check '{name}'", hint)
        if name not in wanted:
            wanted.add(name)
            todo.extend(checks[name].requires)
    return [check for name, check in checks.items() if name in wanted]
