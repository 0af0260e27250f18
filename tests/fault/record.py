# SPDX-License-Identifier: Apache-2.0
"""What the prober saw, and what follows from it. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from scs_deploy.model import Model


class Sample(Model):
    """One request. Times are seconds of the same clock."""

    kind: str
    start: float
    seconds: float
    error: str = ""
    """empty: success"""

    @property
    def end(self) -> float:
        """When the answer was there, or the client gave up."""
        return self.start + self.seconds


class Gap(Model):
    """The longest time without a success: from the end of one to the end of the next."""

    kind: str
    begin: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.kind}, from {datetime.fromtimestamp(self.begin, UTC):%H:%M:%S} UTC)"


class Summary(Model):
    """One kind of request."""

    kind: str
    requests: int
    failures: int
    per_second: float
    median: float
    """seconds of a successful request"""
    gap: Gap
    errors: dict[str, int]
    """error text: how often"""


def gaps(kind: str, samples: Iterable[Sample], begin: float, end: float) -> list[Gap]:
    """The gaps of a kind between `begin` and `end` of the probing, in order.

    Both ends count as if something had succeeded there: an outage that reaches to the end is not hidden.
    """
    successes = sorted(s.end for s in samples if s.kind == kind and not s.error and begin <= s.end <= end)
    times = [begin, *successes, end]
    return [Gap(kind=kind, begin=before, seconds=after - before) for before, after in itertools.pairwise(times)]


def longest_gap(kind: str, samples: Iterable[Sample], begin: float, end: float) -> Gap:
    """The longest gap of a kind; see `gaps`."""
    return max(gaps(kind, samples, begin, end), key=lambda g: g.seconds)


def summary(kind: str, samples: Sequence[Sample], begin: float, end: float) -> Summary:
    """Requests, failures and the longest gap of a kind."""
    own = [s for s in samples if s.kind == kind]
    errors: dict[str, int] = {}
    for sample in own:
        if sample.error:
            errors[sample.error] = errors.get(sample.error, 0) + 1
    took = sorted(s.seconds for s in own if not s.error)
    return Summary(
        kind=kind,
        requests=len(own),
        failures=sum(errors.values()),
        per_second=len(own) / max(end - begin, 0.001),
        median=took[len(took) // 2] if took else 0.0,
        gap=longest_gap(kind, own, begin, end),
        errors=dict(sorted(errors.items(), key=lambda e: -e[1])),
    )


def discrepancies(what: str, attempted: Iterable[int], acknowledged: Iterable[int], found: Iterable[int]) -> list[str]:
    """What is wrong with numbered writes that were found afterwards; empty: nothing.

    A write without an acknowledgement may be there or not. One that was acknowledged must be there, once; one that was
    never tried must not.
    """
    seen: dict[int, int] = {}
    for number in found:
        seen[number] = seen.get(number, 0) + 1
    lost = sorted(set(acknowledged) - seen.keys())
    foreign = sorted(seen.keys() - set(attempted))
    twice = sorted(n for n, times in seen.items() if times > 1)
    problems = (("acknowledged and lost", lost), ("never written", foreign), ("there more than once", twice))
    return [f"{what}: {len(numbers)} {text}: {numbers[:10]}" for text, numbers in problems if numbers]
