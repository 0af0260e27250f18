# SPDX-License-Identifier: Apache-2.0
"""The region of three nodes, a prober that runs through a fault, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from scs_deploy.region.region import Region
from scs_deploy.state.measurement import Gap
from tests.e2e.blackbox import RegionUnderTest
from tests.fault.faults import wait
from tests.fault.members import Membership
from tests.fault.prober import PROBES, Prober

LONGEST_GAP = 15
"""Seconds: the API answers again after the loss of a node."""
MEMBERSHIP = 120
"""Seconds: everything is a member again after the return of a node."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder is a fault test."""
    for item in items:
        if "tests/fault" in str(item.path):
            item.add_marker(pytest.mark.fault)


@pytest.fixture(scope="session")
def region() -> RegionUnderTest:
    """The region of SCS_ENVIRONMENT."""
    os.environ.setdefault("SCS_ENVIRONMENT", "testbed-ha")
    found = RegionUnderTest(os.environ["SCS_ENVIRONMENT"])
    if not (found.folder / "state" / "clouds.yaml").is_file():
        pytest.fail(f"environment {found.name} is not deployed: make testbed LAYOUT=ha")
    return found


@pytest.fixture(scope="session")
def inputs(region: RegionUnderTest) -> Region:
    """Its inputs."""
    return Region.load(region.name)


@pytest.fixture(scope="session")
def members(inputs: Region) -> Membership:
    """Who belongs to what in it; three nodes of a testbed on this machine."""
    found = Membership(inputs)
    if len(found.nodes) < 3:
        pytest.fail(f"environment {inputs.environment.name} has {len(found.nodes)} control hosts: faults need three")
    if inputs.environment.settings.testbed is None:
        pytest.fail(f"environment {inputs.environment.name} is no testbed: these tests take nodes away")
    return found


class Trial:
    """One fault with the prober running, and the numbers that come of it."""

    def __init__(self, name: str, region: RegionUnderTest, members: Membership, prober: Prober) -> None:
        self.name, self.region, self.members, self.prober = name, region, members, prober
        self.numbers: dict[str, Any] = {}
        self.lines: list[str] = []
        self.over = 0.0
        """when the fault was over and what was lost began to return; 0: not yet"""

    def note(self, line: str) -> None:
        """Something a reader of the report should know."""
        self.lines.append(line)
        print(f"  {self.name}: {line}", flush=True)

    def missing(self) -> list[str]:
        """What the region lacks to be whole, agents included."""
        return self.members.missing(self.prober.https, self.prober.token, self.prober.urls)

    def gaps(self) -> tuple[Gap, Gap]:
        """The longest gap that began during the fault, and the longest one that began when it was over."""
        over = self.over or self.prober.end
        return self.prober.longest_gap(until=over), self.prober.longest_gap(since=over)

    def returns(self) -> None:
        """Say that the fault ends now."""
        self.over = self.over or time.time()

    def whole_again(self, deadline: float = MEMBERSHIP) -> None:
        """Wait for full membership; call it when the fault is over.

        :raises AssertionError: something is still missing after `deadline` seconds
        """
        self.returns()
        begin = time.monotonic()
        last: list[str] = []
        while missing := self.missing():
            assert time.monotonic() - begin < deadline, f"{deadline:g} s after the fault: {'; '.join(missing)}"
            last = missing
            time.sleep(2)
        self.numbers["last_missing"] = last
        self.numbers["membership_seconds"] = round(time.monotonic() - begin, 1)

    def answers_for(self, seconds: float) -> None:
        """Wait until every kind of probe has succeeded for some seconds since the last failure: the loss is over.

        :raises AssertionError: that does not happen within a minute more
        """

        def calm() -> bool:
            now = time.time()
            samples = self.prober.samples[:]
            recent = [s for s in samples if s.kind in PROBES and s.end > now - seconds]
            return now - seconds > self.prober.begin and not any(s.error for s in recent)

        wait(calm, seconds + 60, f"requests without an error for {seconds:g} s")


Faults = Callable[..., AbstractContextManager[Trial]]


@pytest.fixture
def trial(region: RegionUnderTest, members: Membership, inputs: Region, request: pytest.FixtureRequest) -> Faults:
    """Probes through the body of a `with`, then checks what must hold and reports the numbers.

    `longest`: seconds of the longest gap that are allowed, None: any.
    """

    @contextmanager
    def probing(longest: float | None = LONGEST_GAP) -> Iterator[Trial]:
        settled = time.monotonic() + MEMBERSHIP
        while before := members.missing():
            assert time.monotonic() < settled, f"the region is not whole before the fault: {'; '.join(before)}"
            time.sleep(2)
        planned = region.plan()
        name = request.node.name
        with Prober(inputs) as prober:
            found = Trial(name, region, members, prober)
            prober.start()
            failed = ""
            try:
                wait(lambda: time.time() > prober.begin + 5, 10, "five seconds of probing before the fault")
                yield found
                found.answers_for(5)
            except BaseException as error:
                failed = f"{type(error).__name__}: {error}".splitlines()[0][:500]
                raise
            finally:
                prober.stop()
                problems = report(found, failed)
        assert not problems, "; ".join(problems)
        lost, returning = found.gaps()
        assert longest is None or lost.seconds <= longest, f"the API did not answer after the loss for {lost}"
        assert longest is None or returning.seconds <= longest, (
            f"the API did not answer during the return for {returning}"
        )
        left = [change for change in region.plan() if change not in planned]
        assert not left, f"scs plan after the fault: {left}"

    def report(found: Trial, failed: str) -> list[str]:
        prober = found.prober
        gap, returning = found.gaps()
        problems = prober.verify()
        numbers = {
            "test": found.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "longest_gap_seconds": round(gap.seconds, 1),
            "longest_gap_kind": gap.kind,
            "return_gap_seconds": round(returning.seconds, 1),
            "return_gap_kind": returning.kind,
            "seconds": round(prober.end - prober.begin, 1),
            "requests": sum(s.requests for s in prober.summaries()),
            "requests_per_second": round(sum(s.per_second for s in prober.summaries() if s.kind in PROBES[:4]), 1),
            "failures": sum(s.failed for s in prober.summaries()),
            "acknowledged": {kind: len(w.acknowledged) for kind, w in prober.writes.items()},
            "problems": problems,
            "failed": failed,
            "notes": found.lines,
            "gaps": {s.kind: round(s.gap.seconds, 1) for s in prober.summaries()},
            "errors": {s.kind: s.errors for s in prober.summaries() if s.errors},
            **found.numbers,
        }
        with (region.folder / "state" / "fault-report.json").open("a", encoding="utf-8") as file:
            file.write(json.dumps(numbers) + "\n")
        acknowledged = sum(len(w.acknowledged) for w in prober.writes.values())
        membership = f"{m} s" if (m := found.numbers.get("membership_seconds")) is not None else "not reached"
        parts = (
            f"longest gap {gap}, during the return {returning}",
            f"{numbers['failures']} of {numbers['requests']} requests failed",
            f"{acknowledged} writes acknowledged, {'none lost' if not problems else ', '.join(problems)}",
            f"full membership {membership} after the fault",
        )
        print(f"\n{found.name}: {'; '.join(parts)}", flush=True)
        return problems

    return probing
