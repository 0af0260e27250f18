# SPDX-License-Identifier: Apache-2.0
"""`scs validate`: uses a region as its users do, measures, and leaves nothing behind."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from scs_deploy.base.errors import ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.state.lock import RunLock
from scs_deploy.validate import guest_image
from scs_deploy.validate import region as regions
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CHECKS, Check, CheckFailedError, NotApplicableError, select
from scs_deploy.validate.report import Report, Result, Verdict

__all__ = ["CLEANUP", "Report", "Result", "Verdict", "available", "run"]

CLEANUP = "cleanup"
"""The last result of a validation that made something: whether all of it is gone."""

Progress = Callable[[str, Result | None], None]


def available() -> dict[str, Check]:
    """All checks by name, in the order they run."""
    import scs_deploy.validate.checks  # noqa: F401 - registers them

    return CHECKS


def run(
    environment: Environment,
    names: Sequence[str] = (),
    keep: bool = False,
    on_progress: Progress = lambda _name, _result: None,
) -> Report:
    """Run the named checks and what they require; all when nothing is named.

    What is made is named or tagged `scs-validate-<id>` and removed at the end, after a failure and Ctrl-C too; what
    an earlier run could not remove goes first.

    :param keep: leave what was made for a look; the next validation removes it
    :param on_progress: called with a check's name as it starts (and what it does), and with its result
    :raises RefusedError: unknown check, no clouds file, or another validation of this region is running
    """
    chosen = select(names, available())
    started, clock = datetime.now(UTC), time.monotonic()

    def guest() -> Path:
        return guest_image.ensure(
            environment.state / "guest-image",
            f"scs/base:{environment.settings.release}",
            on_progress=lambda text: on_progress(f"guest image: {text}", None),
        ).path

    region = Region(environment, secrets.token_hex(4), guest)
    with RunLock(environment.state / "validate.lock"):
        results = perform(region, chosen, keep, on_progress)
    return Report(
        id=region.run, environment=environment.name, started=started, seconds=time.monotonic() - clock,
        results=tuple(results),
    )  # fmt: skip


def perform(region: Region, chosen: Sequence[Check], keep: bool, on_progress: Progress) -> list[Result]:
    """The checks in their order, then the removal of what they made."""
    creates = any(check.creates for check in chosen)
    cloud = region.cloud
    results: dict[str, Result] = {}
    answering = False
    try:
        for check in chosen:
            if check.creates and not answering and not _blocked(check, results):
                answering = True
                on_progress("removing what an earlier validation left", None)
                # what stays is in nobody's way; the cleanup at the end tries again and tells
                with suppress(Exception):
                    regions.clean(cloud)
            on_progress(check.name, None)
            results[check.name] = _one(region, check, results)
            on_progress(check.name, results[check.name])
    finally:
        if creates and answering and not keep:
            on_progress("removing what was made", None)
            results[CLEANUP] = _cleanup(region)
            on_progress(CLEANUP, results[CLEANUP])
    return list(results.values())


def _blocked(check: Check, results: dict[str, Result]) -> list[str]:
    return [name for name in check.requires if results[name].verdict is not Verdict.PASSED]


def _one(region: Region, check: Check, results: dict[str, Result]) -> Result:
    started, clock = datetime.now(UTC), time.monotonic()

    def result(verdict: Verdict, message: str, samples: Sequence[float] = ()) -> Result:
        return Result(
            check=check.name, verdict=verdict, message=message, started=started, seconds=time.monotonic() - clock,
            samples=tuple(samples), budget=check.budget,
        )  # fmt: skip

    if blocked := _blocked(check, results):
        return result(Verdict.SKIPPED, f"needs {', '.join(blocked)}")
    try:
        outcome = check.run(region)
    except NotApplicableError as error:
        return result(Verdict.NOT_APPLICABLE, str(error))
    except (CheckFailedError, ScsError) as error:
        return result(Verdict.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - a check that meets an unknown error has failed; the others go on
        return result(Verdict.FAILED, _say(error))
    found = result(Verdict.PASSED, outcome.message, outcome.samples)
    if found.p95 is not None and check.budget is not None and found.p95 > check.budget:
        over = f"p95 {found.p95:.2f} s is over the budget of {check.budget:g} s"
        return found.model_copy(update={"verdict": Verdict.FAILED, "message": over})
    return found


def _cleanup(region: Region) -> Result:
    started, clock = datetime.now(UTC), time.monotonic()
    try:
        removed, failed = regions.clean(region.cloud)
    except Exception as error:  # noqa: BLE001 - reported as the result, and the next validation tries again
        removed, failed = [], [_say(error)]
    message = f"not removed: {'; '.join(failed)}" if failed else f"{len(removed)} things removed"
    return Result(
        check=CLEANUP, verdict=Verdict.FAILED if failed else Verdict.PASSED, message=message, started=started,
        seconds=time.monotonic() - clock,
    )  # fmt: skip


def _say(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
