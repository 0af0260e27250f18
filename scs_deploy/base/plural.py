# SPDX-License-Identifier: Apache-2.0
"""Numbers with their noun in messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 change`, `2 changes`.

    :param plural: where it is not the noun with an s
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
