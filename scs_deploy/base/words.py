# SPDX-License-Identifier: Apache-2.0
"""Enumerations that explain their values, once: for the code, and for the reference that is generated from it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Words(StrEnum):
    """An enumeration of words, each with its meaning: `PULL = "pull", "images are fetched"`."""

    meaning: str

    # a default, because type checkers take `Phase("pull")`, which finds a member, for this call
    def __new__(cls, value: str, meaning: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member
