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

from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.state.measurement import Gap
from tests.e2e.blackbox import RegionUnderTest
from tests.fault import layout
from tests.fault.faults import FaultError, Node, wait
from tests.fault.guest import Guest, Keeper
from tests.fault.members import Membership
from tests.fault.prober import OBJECTS, PROBES, Prober

LONGEST_GAP = 15
"""Seconds: the API answers again after the loss of a node."""
MEMBERSHIP = 300
"""Seconds: everything is a member again after the return of a node. Its 40 processes start on a share of two cores."""
STORAGE = 300
"""Seconds from then on: Ceph has all copies of all data, and nothing to complain about."""
GUEST = os.environ.get("SCS_FAULT_GUEST", "1") != "0"
"""Whether a guest writes on a volume through every fault."""


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


@pytest.fixture(scope="session")
def keeper(members: Membership, inputs: Region) -> Iterator[Keeper]:
    """The guest of all tests of a session; a region without Ceph has none."""
    found = Keeper(inputs, members.nodes, wanted=GUEST and ceph.enabled(inputs))
    yield found
    found.remove()


class Trial:
    """One fault with the prober running, and the numbers that come of it."""

    def __init__(
        self, name: str, region: RegionUnderTest, members: Membership, prober: Prober, guest: Guest | None
    ) -> None:
        self.name, self.region, self.members, self.prober, self.guest = name, region, members, prober, guest
        self.numbers: dict[str, Any] = {}
        self.lines: list[str] = []
        self.over = 0.0
        """when the fault was over and what was lost began to return; 0: not yet"""

    def note(self, line: str) -> None:
        """Something a reader of the report should know."""
        self.lines.append(line)
        print(f"  {self.name}: {line}", flush=True)

    def missing(self, storage: bool = True) -> list[str]:
        """What the region lacks to be whole, agents included."""
        return self.members.missing(self.prober.https, self.prober.token, self.prober.urls, storage)

    def gaps(self) -> tuple[Gap, Gap]:
        """The longest gap that began during the fault, and the longest one that began when it was over."""
        over = self.over or self.prober.end
        return self.prober.longest_gap(until=over), self.prober.longest_gap(since=over)

    def storage(self) -> tuple[dict[str, Any], list[str], str]:
        """What became of writes on the volume and over S3: numbers, what is wrong, and both in words."""
        since, until = self.prober.begin, self.prober.end
        numbers: dict[str, Any] = {}
        problems: list[str] = []
        words: list[str] = []
        if self.guest:
            writes = self.guest.writes(since, until)
            pause, away = self.guest.pause(since, until), layout.away(writes)
            failed = [w.number for w in writes if not w.good]
            numbers["guest"] = {
                "longest_pause_seconds": round(pause.seconds, 2),
                "away_seconds": round(away, 1),
                "acknowledged": len(writes) - len(failed),
                "failed": len(failed),
            }
            problems += [f"{len(failed)} writes of the guest failed: {failed[:10]}"] if failed else []
            try:
                problems += self.guest.verify()
            except FaultError as error:
                problems.append(str(error))
            gone = f" and the guest was away for {away:.0f} s" if away else ""
            words.append(f"{len(writes) - len(failed)} writes of the guest acknowledged, longest pause {pause}{gone}")
        if self.prober.bucket:
            pause = self.prober.pause(OBJECTS)
            numbers["s3"] = {
                "longest_pause_seconds": round(pause.seconds, 2),
                "acknowledged": len(self.prober.writes[OBJECTS].acknowledged),
                "failed": sum(s.kind == OBJECTS and bool(s.error) for s in self.prober.samples),
            }
            words.append(f"longest pause of S3 {pause}")
        return numbers, problems, "; ".join(words)

    def returns(self) -> None:
        """Say that the fault ends now."""
        self.over = self.over or time.time()

    def whole_again(self, deadline: float = MEMBERSHIP) -> None:
        """Wait for full membership, then for all copies in Ceph; call it when the fault is over.

        :raises AssertionError: a member is still missing after `deadline` seconds, or a copy STORAGE seconds later
        """
        self.returns()
        begin = time.monotonic()
        last: list[str] = []
        while missing := self.missing(storage=False):
            assert time.monotonic() - begin < deadline, f"{deadline:g} s after the fault: {'; '.join(missing)}"
            last = missing
            time.sleep(2)
        members = time.monotonic()
        self.numbers["last_missing"] = last
        self.numbers["membership_seconds"] = round(members - begin, 1)
        while missing := self.missing():
            assert time.monotonic() - members < STORAGE, (
                f"{STORAGE} s after everything was a member again: {'; '.join(missing)}"
            )
            self.numbers["storage_last_missing"] = missing
            time.sleep(2)
        if self.members.monitors:
            self.numbers["storage_seconds"] = round(time.monotonic() - begin, 1)

    def loses(self, node: Node, how: str) -> None:
        """Take a node away until the region answers without it, start it again, and wait until all is whole.

        :param how: stop or kill
        """
        try:
            node.stop() if how == "stop" else node.kill()
            self.answers_for(10)
        finally:
            self.returns()
            node.start()
        self.whole_again()

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
def trial(
    region: RegionUnderTest, members: Membership, inputs: Region, keeper: Keeper, request: pytest.FixtureRequest
) -> Faults:
    """Probes through the body of a `with`, then checks what must hold and reports the numbers.

    `longest`: seconds of the longest gap that are allowed, None: any. `lost`: the host that the fault takes away; the
    guest leaves it before, so that its writes wait for the storage alone.
    """

    @contextmanager
    def probing(longest: float | None = LONGEST_GAP, lost: str = "") -> Iterator[Trial]:
        settled = time.monotonic() + MEMBERSHIP + STORAGE
        while before := members.missing():
            assert time.monotonic() < settled, f"the region is not whole before the fault: {'; '.join(before)}"
            time.sleep(2)
        planned = region.plan()
        name = request.node.name
        guest = keeper.guest()
        notes = guest.awake() if guest else []
        if guest and lost:
            guest.leave(lost)
        with Prober(inputs) as prober:
            found = Trial(name, region, members, prober, guest)
            for line in notes:
                found.note(f"before the fault: {line}")
            prober.start()
            failed = ""
            try:
                wait(lambda: time.time() > prober.begin + 5, 10, "five seconds of probing before the fault")
                yield found
                found.answers_for(5)
                for line in guest.awake() if guest else ():
                    found.note(line)
            except BaseException as error:
                failed = f"{type(error).__name__}: {error}".splitlines()[0][:500]
                raise
            finally:
                prober.stop()
                problems = report(found, failed)
        assert not problems, "; ".join(problems)
        during, returning = found.gaps()
        assert longest is None or during.seconds <= longest, f"the API did not answer after the loss for {during}"
        assert longest is None or returning.seconds <= longest, (
            f"the API did not answer during the return for {returning}"
        )
        left = [change for change in region.plan() if change not in planned]
        assert not left, f"scs plan after the fault: {left}"

    def report(found: Trial, failed: str) -> list[str]:
        prober = found.prober
        gap, returning = found.gaps()
        stored, wrong, words = found.storage()
        found.numbers |= stored
        problems = prober.verify() + wrong
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
        copies = f", all copies in Ceph {c} s" if (c := found.numbers.get("storage_seconds")) is not None else ""
        parts = (
            f"longest gap {gap}, during the return {returning}",
            f"{numbers['failures']} of {numbers['requests']} requests failed",
            f"{acknowledged} writes acknowledged, {'none lost' if not problems else ', '.join(problems)}",
            *([words] if words else ()),
            f"full membership {membership}{copies} after the fault",
        )
        print(f"\n{found.name}: {'; '.join(parts)}", flush=True)
        return problems

    return probing
