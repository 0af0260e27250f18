# SPDX-License-Identifier: Apache-2.0
"""What happens while an operation runs, as typed events: an operation emits them, a view shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from scs_deploy.images.difference import ImageChange
from scs_deploy.state.measurement import Summary

log = logging.getLogger("scs")


@dataclass(frozen=True)
class Stage:
    """The operation enters a stage of its own, e.g. `verifying that nothing is left`."""

    title: str


@dataclass(frozen=True)
class Expected:
    """So many more changes or steps are to be done."""

    more: int


@dataclass(frozen=True)
class TaskStarted:
    """A task begins."""

    title: str
    group: str = ""
    """what it belongs to, e.g. `roll`"""


@dataclass(frozen=True)
class TaskDone:
    """A task succeeded on a host."""

    title: str
    host: str = ""
    changes: int = 0
    """changes of the plan that it finished"""
    said: str = ""
    """what was done, a few words: text, never markup"""


@dataclass(frozen=True)
class TaskFailed:
    """A task failed on a host."""

    title: str
    host: str
    message: str
    """from the host: text, never markup"""


@dataclass(frozen=True)
class Note:
    """Something that the operator should know."""

    text: str
    host: str = ""


@dataclass(frozen=True)
class ProbeNote:
    """Something that the prober has to say."""

    text: str


@dataclass(frozen=True)
class ProbeResult:
    """What the prober measured during the operation."""

    summaries: tuple[Summary, ...]


@dataclass(frozen=True)
class ImageStep:
    """The build of an image comes to a step, or ends."""

    image: str
    state: str
    """as scs_deploy.images.events has it: `running`, `built`, `pushed` ..."""
    step: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class ImagesBuilt:
    """All images are built and pushed."""

    changes: tuple[ImageChange, ...]
    """against the images that the region has locked so far"""


@dataclass(frozen=True)
class Checked:
    """A check of the validation ended."""

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
    """The view of those who look at the record later."""


def guarded(watch: Watch) -> Watch:
    """The same view, whose exceptions are logged: an operation never ends because it could not be shown."""

    def show(event: Event) -> None:
        try:
            watch(event)
        except Exception:
            log.exception("a view failed to show %s", type(event).__name__)

    return show
