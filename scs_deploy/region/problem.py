# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an option or a rule in one of the operator's overrides."""

from __future__ import annotations

from typing import NamedTuple


class OptionProblem(NamedTuple):
    """An option or a rule in an override: where, what is wrong, and what to do."""

    where: str
    what: str
    hint: str
    unknown: bool
    """false: it is read, but will not be for long"""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")
