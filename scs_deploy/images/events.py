# SPDX-License-Identifier: Apache-2.0
"""Progress events of builds and pushes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

State = Literal["running", "built", "reused", "pulled", "pushed", "present", "failed"]


class Event(NamedTuple):
    """One step of one image."""

    image: str
    state: State
    step: str = ""
    seconds: float | None = None


OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Ignore all events."""
