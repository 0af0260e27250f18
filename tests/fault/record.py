# SPDX-License-Identifier: Apache-2.0
"""What follows from the writes that a region acknowledged. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def discrepancies(
    what: str, attempted: Iterable[int], acknowledged: Iterable[int], found: Iterable[int], repeats: bool = False
) -> list[str]:
    """What is wrong with numbered writes that were found afterwards; empty: nothing.

    A write without an acknowledgement may be there or not. One that was acknowledged must be there, once; one that was
    never tried must not.

    :param repeats: the server repeats an operation when its database goes while it commits, as Neutron does
        (neutron.db.api.retry_db_errors): a write may be there twice then
    """
    seen: dict[int, int] = {}
    for number in found:
        seen[number] = seen.get(number, 0) + 1
    lost = sorted(set(acknowledged) - seen.keys())
    foreign = sorted(seen.keys() - set(attempted))
    twice = sorted(n for n, times in seen.items() if times > 1 and not repeats)
    problems = (("acknowledged and lost", lost), ("never written", foreign), ("there more than once", twice))
    return [f"{what}: {len(numbers)} {text}: {numbers[:10]}" for text, numbers in problems if numbers]
