# SPDX-License-Identifier: Apache-2.0
"""Typed events of a running operation: the operation emits them, a view shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from scs_deploy.images.difference import ImageChange
from scs_deploy.state.measurement import Summary

log = logging.getLogger("scs")


@dataclass(frozen=True)
class Stage:
    """The operation enters a stage outside its tasks, e.g. `verifying that no changes remain`."""

    title: str


@dataclass(frozen=True)
class Expected:
    """The number of further changes or steps to make."""

    more: int


@dataclass(frozen=True)
class TaskStarted:
    """A task starts."""

    title: str
    group: str = ""
    """its group of tasks, e.g. `roll`"""


@dataclass(frozen=True)
class TaskDone:
    """A task succeeded on a host."""

    title: str
    host: str = ""
    changes: int = 0
    """number of planned changes that it completed"""
    said: str = ""
    """what was done, in a few words; plain text, not markup"""


@dataclass(frozen=True)
class TaskFailed:
    """A task failed on a host."""

    title: str
    host: str
    message: str
    """from the host; plain text, not markup"""


@dataclass(frozen=True)
class Note:
    """A message for the operator."""

    text: str
    host: str = ""


@dataclass(frozen=True)
class ProbeNote:
    """A message from the prober."""

    text: str


@dataclass(frozen=True)
class ProbeResult:
    """What the prober measured during the operation."""

    summaries: tuple[Summary, ...]


@dataclass(frozen=True)
class ImageStep:
    """The build of an image reaches a step, or ends."""

    image: str
    state: str
    """as in scs_deploy.images.events: `running`, `built`, `pushed` ..."""
    step: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class ImagesBuilt:
    """All images are built and pushed."""

    changes: tuple[ImageChange, ...]
    """differences from the region's locked images"""


@dataclass(frozen=True)
class Checked:
    """A validation check ended."""

    check: str
    verdict: str
    seconds: float
    message: str = ""


Event = (
    Stage | Expected | TaskStarted | TaskDone | TaskFailed | Note | ProbeNote | ProbeResult | ImageStep | ImagesBuilt
    | Checked
)  # fmt: skip

Watch = Callable[[Event], None]
"""A view of an operation: called with each event as it happens."""


def ignore(_event: Event) -> None:
    """Discard all events."""


def guarded(watch: Watch) -> Watch:
    """Wrap a view so that its exceptions are logged and do not end the operation."""

    def show(event: Event) -> None:
        try:
            watch(event)
        except Exception:
            log.exception("a view failed to show %s", type(event).__name__)

    return show
