# SPDX-License-Identifier: Apache-2.0
"""The options that the services of each image read, beside the release lock: `release.options.<release>.json`.

`scs images build` writes the file, so that overrides are checked without an image or a host. An entry belongs to the
digest that the lock has of its image. An image without an entry is not checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.base.model import Model
from scs_deploy.base.reading import read_text
from scs_deploy.spec.release import Lock

Names = dict[str, dict[str, str]]
"""section: option: text"""


class OptionList(Model):
    """The options and policy rules of one image, as its own packages declare them to oslo.config and oslo.policy."""

    options: dict[str, tuple[str, ...]] = Field(description="section: options")
    renamed: Names = Field(description="section: former option that is still read: `[section] option`")
    removal: Names = Field(description="section: option that a later release removes: the reason")
    rules: tuple[str, ...] = Field(default=(), description="policy rules; empty if they are not known")

    def section(self, name: str) -> str | None:
        """A section as this list spells it. oslo.config ignores case, except in DEFAULT."""
        by_lower = {s.lower(): s for s in (*self.options, *self.renamed) if s != "DEFAULT"}
        return name if name == "DEFAULT" else by_lower.get(name.lower())


class LockedOptions(Model):
    """The options of an image that is in the release lock."""

    digest: str
    known: OptionList


class OptionLists(Model):
    """The content of the file."""

    images: dict[str, LockedOptions] = Field(description="by image name")

    def matching(self, lock: Lock) -> dict[str, OptionList]:
        """The lists of those images that are locked with the same digest."""
        return {
            name: found.known
            for name, found in self.images.items()
            if name in lock.images and lock.images[name].digest == found.digest
        }


NONE = OptionLists(images={})


def file_of(folder: Path, release: str) -> Path:
    """The file of a release in an environment's folder."""
    return folder / f"release.options.{release}.json"


def load(path: Path) -> OptionLists:
    """The lists in a file; none if it does not exist.

    :raises RefusedError: the file has an error
    """
    if not os.path.lexists(path):
        return NONE
    try:
        return OptionLists.model_validate_json(read_text(path))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise RefusedError(
            f"{path}: {where + ': ' if where else ''}{problem['msg']}", "remove the file; scs images build writes it"
        ) from None


def save(path: Path, lists: Mapping[str, OptionList], lock: Lock) -> None:
    """Write the lists of the lock's images. Keeps those that are known already and still locked.

    :param lists: new lists by image name
    """
    before = load(path).matching(lock)
    images = {
        name: {"digest": lock.images[name].digest, "known": found.model_dump(mode="json")}
        for name, found in sorted({**before, **lists}.items())
        if name in lock.images
    }
    content = _text({"images": images})
    if images and (not path.is_file() or path.read_text(encoding="utf-8") != content):
        replace(path, content)


def _text(data: object) -> str:
    # one line per option, so that a change of one is a change of one line in git
    return json.dumps(data, indent=0, sort_keys=True) + "\n"
