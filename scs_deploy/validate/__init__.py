# SPDX-License-Identifier: Apache-2.0
"""`scs validate`: use a region as its users do, measure it, and leave no resources behind."""

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
from scs_deploy.validate.region import Region, clean
from scs_deploy.validate.registry import CHECKS, Check, CheckFailedError, NotApplicableError, select
from scs_deploy.validate.report import Report, Result, Verdict

__all__ = ["CLEANUP", "Report", "Result", "Verdict", "available", "run"]

CLEANUP = "cleanup"
"""Name of the last result of a validation that created resources: whether all of them were removed."""

Progress = Callable[[str, Result | None], None]


def available() -> dict[str, Check]:
    """All checks by name, in execution order."""
    import scs_deploy.validate.checks  # noqa: F401 - registers them

    return CHECKS


def run(
    environment: Environment,
    names: Sequence[str] = (),
    keep: bool = False,
    on_progress: Progress = lambda _name, _result: None,
) -> Report:
    """Run the named checks (default: all) and the checks that they require.

    Resources are named or tagged `scs-validate-<id>` and removed at the end, also after a failure or Ctrl-C. Resources
    that an earlier validation left behind are removed first.

    :param keep: keep the resources for inspection; the next validation removes them
    :param on_progress: called with a check's name when it starts, and again with its result
    :raises RefusedError: unknown check, no clouds.yaml, or another validation of this region is running
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
    """Run the checks in order, then remove their resources."""
    creates = any(check.creates for check in chosen)
    cloud = region.cloud
    results: dict[str, Result] = {}
    answering = False
    try:
        for check in chosen:
            if check.creates and not answering and not _blocked(check, results):
                answering = True
                on_progress("removing resources of earlier validations", None)
                # leftovers do no harm; the cleanup at the end tries again and reports them
                with suppress(Exception):
                    clean(cloud)
            on_progress(check.name, None)
            results[check.name] = _one(region, check, results)
            on_progress(check.name, results[check.name])
    finally:
        if creates and answering and not keep:
            on_progress("removing resources", None)
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
        if all(results[name].verdict is Verdict.NOT_APPLICABLE for name in blocked):
            return result(Verdict.NOT_APPLICABLE, results[blocked[0]].message)
        return result(Verdict.SKIPPED, f"requires {', '.join(blocked)}")
    try:
        outcome = check.run(region)
    except NotApplicableError as error:
        return result(Verdict.NOT_APPLICABLE, str(error))
    except (CheckFailedError, ScsError) as error:
        return result(Verdict.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - an unknown error fails the check; the others continue
        return result(Verdict.FAILED, _say(error))
    passed = result(Verdict.PASSED, outcome.message, outcome.samples)
    if passed.p95 is not None and check.budget is not None and passed.p95 > check.budget:
        over = f"p95 of {passed.p95:.2f} s exceeds the budget of {check.budget:g} s"
        return passed.model_copy(update={"verdict": Verdict.FAILED, "message": over})
    return passed


def _cleanup(region: Region) -> Result:
    started, clock = datetime.now(UTC), time.monotonic()
    try:
        removed, failed = clean(region.cloud)
    except Exception as error:  # noqa: BLE001 - reported as the result, and the next validation tries again
        removed, failed = [], [_say(error)]
    message = f"could not remove: {'; '.join(failed)}" if failed else f"{len(removed)} resources removed"
    return Result(
        check=CLEANUP, verdict=Verdict.FAILED if failed else Verdict.PASSED, message=message, started=started,
        seconds=time.monotonic() - clock,
    )  # fmt: skip


def _say(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
