# SPDX-License-Identifier: Apache-2.0
"""What an environment has of its own beside what scs ships: services, images, and the users of these images.

They lie in the environment's folder and survive an update of scs. An image is part of every release by its file.
"""

from __future__ import annotations

import re
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.spec import own, release, users
from scs_deploy.spec.catalog import Catalog, LeftOut
from scs_deploy.spec.release import ImageSpec, Release
from scs_deploy.spec.users import User

SERVICES, IMAGES = "services", "images"
FOLDERS = (SERVICES, IMAGES)

IMAGE_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
"""A part of a repository's name."""


def load_catalog(environment: Environment) -> Catalog:
    """The catalog with the environment's own services; `left_out` names those with an error.

    :raises RefusedError: an error in a shipped service
    """
    return own.load(environment.path / SERVICES)


def load_users(environment: Environment) -> dict[str, User]:
    """The users of the environment's own images.

    :raises RefusedError: an error in its images/users.yml
    """
    return users.load_own(environment.path / IMAGES)


def read_users(environment: Environment) -> tuple[dict[str, User], tuple[LeftOut, ...]]:
    """As `load_users`; none, and the error, if the file has one."""
    try:
        return load_users(environment), ()
    except RefusedError as error:
        return {}, (LeftOut(name=users.FILE, message=error.message, hint=error.hint),)


def load_release(environment: Environment, name: str | None = None) -> Release:
    """A release with the environment's own images.

    :param name: default: the environment's release
    :raises RefusedError: unknown release, an error in its file, or in the name of an own image
    """
    found, wrong = read_release(environment, name)
    if wrong:
        raise RefusedError(wrong[0].message, wrong[0].hint)
    return found


def read_release(environment: Environment, name: str | None = None) -> tuple[Release, tuple[LeftOut, ...]]:
    """As `load_release`, with the own images that were left out because of their names."""
    named = "" if name or environment.ahead else f"{environment.file}: release"
    shipped = release.load_release(name or environment.settings.release, named)
    images: dict[str, Path] = {}
    wrong = []
    for file in _files(environment.path / IMAGES):
        if error := _problem(file, shipped):
            wrong.append(LeftOut(name=file.name, message=error.message, hint=error.hint))
        else:
            images[file.stem] = file
    every = {**shipped.images, **{image: ImageSpec() for image in images}}
    return shipped.model_copy(update={"images": every, "own": images}), tuple(wrong)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    ignored = (users.FILE, *own.IGNORED)
    return [f for f in sorted(folder.iterdir()) if f.name not in ignored and f.name[0] != "." and f.name[-1] != "~"]


def _problem(file: Path, shipped: Release) -> RefusedError | None:
    if file.suffix != ".yml" or not file.is_file():
        return RefusedError(f"{file}: no image", f"an image is one file: {file.with_suffix('.yml')}")
    if file.stem in shipped.images:
        return RefusedError(
            f"{file}:1: release {shipped.name} has an image '{file.stem}' itself", "choose another name for the file"
        )
    if not IMAGE_NAME.fullmatch(file.stem):
        return RefusedError(f"{file}: '{file.stem}' cannot be the name of an image", "use [a-z0-9] and single - or _")
    return None
