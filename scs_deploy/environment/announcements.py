# SPDX-License-Identifier: Apache-2.0
"""announcements.yml of an environment: what the public status page says of maintenance."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from scs_deploy.base.model import Written, load_model

FILE = "announcements.yml"

Title = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\r\n]*$")]
Body = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class TitleIn(Written):
    """A title in each language of the page."""

    en: Title = Field(description="in English")
    de: Title = Field(description="in German")


class TextIn(Written):
    """A text in each language of the page."""

    en: Body = Field(description="in English; an empty line begins a paragraph")
    de: Body = Field(description="in German")


class Announcement(Written):
    """Something that users should know. Everybody can read it: write no host names, addresses or versions."""

    begin: AwareDatetime = Field(alias="from", description="with its offset from UTC, e.g. 2026-12-01T22:00:00+01:00")
    until: AwareDatetime = Field(description="the page no longer shows it then")
    title: TitleIn = Field(description="one line")
    text: TextIn = Field(description="plain text")

    @model_validator(mode="after")
    def _ends_later(self) -> Announcement:
        if self.until <= self.begin:
            raise ValueError("until: must be later than from")
        return self


class Announcements(Written):
    """announcements.yml."""

    announcements: tuple[Announcement, ...] = Field(default=(), description="in any order; old ones may stay")

    def shown(self, now: datetime) -> tuple[Announcement, ...]:
        """Those that have not ended, the first to begin before the others."""
        return tuple(sorted((a for a in self.announcements if a.until > now), key=lambda a: (a.begin, a.until)))


def load(folder: Path) -> Announcements:
    """The file of an environment's folder; empty if there is none.

    :raises RefusedError: names file, line and key of the first error
    """
    file = folder / FILE
    return load_model(Announcements, file) if file.is_file() else Announcements()
