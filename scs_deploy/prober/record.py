# SPDX-License-Identifier: Apache-2.0
"""What a prober saw, and what follows from it. Pure."""

from __future__ import annotations

import itertools
import math
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
    """One kind of request, e.g. `compute list`."""

    kind: str
    requests: int
    failed: int
    per_second: float
    p50: float
    """seconds of a successful request; 0 when none succeeded"""
    p99: float
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


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values in ascending order; 0 of none."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else 0.0


def summary(kind: str, samples: Sequence[Sample], begin: float, end: float) -> Summary:
    """Requests, failures, times and the longest gap of a kind."""
    own = [s for s in samples if s.kind == kind]
    errors: dict[str, int] = {}
    for sample in own:
        if sample.error:
            errors[sample.error] = errors.get(sample.error, 0) + 1
    took = sorted(s.seconds for s in own if not s.error)
    return Summary(
        kind=kind,
        requests=len(own),
        failed=sum(errors.values()),
        per_second=len(own) / max(end - begin, 0.001),
        p50=percentile(took, 50),
        p99=percentile(took, 99),
        gap=longest_gap(kind, own, begin, end),
        errors=dict(sorted(errors.items(), key=lambda e: -e[1])),
    )
