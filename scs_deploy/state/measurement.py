# SPDX-License-Identifier: Apache-2.0
"""The samples of a prober, and their evaluation. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from scs_deploy.base.model import Model


class Sample(Model):
    """One request. Times are seconds of the same clock."""

    kind: str
    start: float
    seconds: float
    error: str = ""
    """empty: success"""

    @property
    def end(self) -> float:
        """When the response arrived, or the client gave up."""
        return self.start + self.seconds


class Gap(Model):
    """Time without a success while requests were sent, until the end of the next success."""

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

    @property
    def regular(self) -> bool:
        """Whether requests are frequent enough for a meaningful gap; the prober writes only once a minute."""
        return not self.kind.endswith(" write")


def gaps(kind: str, samples: Iterable[Sample], begin: float, end: float) -> list[Gap]:
    """The gaps of a kind between `begin` and `end` of the probing, in order.

    Time without requests does not count, so that the gaps of a kind do not depend on how often it is requested. Both
    ends count as successes after which requests continue, so that an outage that lasts until the end is not hidden.
    """
    own = sorted((s for s in samples if s.kind == kind), key=lambda s: s.end)
    successes = [s.end for s in own if not s.error and begin <= s.end <= end]
    # for each request: the earliest start of the requests that ended when it did or later
    ends = [s.end for s in own]
    earliest = list(itertools.accumulate((s.start for s in reversed(own)), min))[::-1]
    result = []
    for before, after in itertools.pairwise([begin, *successes, end]):
        asked = before
        pending = bisect.bisect_right(ends, before)
        if before != begin and after != end and pending < len(own):
            asked = min(max(before, earliest[pending]), after)
        result.append(Gap(kind=kind, begin=asked, seconds=after - asked))
    return result


def longest_gap(kind: str, samples: Iterable[Sample], begin: float, end: float) -> Gap:
    """The longest gap of a kind; see `gaps`."""
    return max(gaps(kind, samples, begin, end), key=lambda g: g.seconds)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values in ascending order; 0 without values."""
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


def together(*parts: Iterable[Summary]) -> list[Summary]:
    """Combine the results of consecutive probers into one summary per kind of request.

    Requests, failures and errors are added up. The highest rate and percentiles and the longest gap are kept.
    """
    combined: dict[str, Summary] = {}
    for summary in itertools.chain.from_iterable(parts):
        before = combined.get(summary.kind)
        combined[summary.kind] = _both(before, summary) if before else summary
    return list(combined.values())


def _both(first: Summary, second: Summary) -> Summary:
    errors = dict(first.errors)
    for text, count in second.errors.items():
        errors[text] = errors.get(text, 0) + count
    return Summary(
        kind=first.kind,
        requests=first.requests + second.requests,
        failed=first.failed + second.failed,
        per_second=max(first.per_second, second.per_second),
        p50=max(first.p50, second.p50),
        p99=max(first.p99, second.p99),
        gap=max(first.gap, second.gap, key=lambda g: g.seconds),
        errors=dict(sorted(errors.items(), key=lambda e: -e[1])),
    )
