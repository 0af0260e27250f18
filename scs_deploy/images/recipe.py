# SPDX-License-Identifier: Apache-2.0
"""Image recipes (`images/<name>.yml`): a parent, packages of Debian or PyPI, and little else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.images import pins
from scs_deploy.images.pins import Pin
from scs_deploy.spec import users
from scs_deploy.spec.release import Release

FORMAT = 2
"""Part of every key: raise it when the builder itself makes images differently."""


class File(Model):
    """A file that an image gets before its packages."""

    path: str = Field(pattern="^/", description="absolute")
    content: str = Field(description="its text")
    mode: str = Field(default="0644", pattern="^0[0-7]{3}$", description="octal permissions")


class Recipe(Model):
    """The keys of a recipe."""

    name: str
    description: str = Field(description="what the image holds, in a few words")
    parent: str | None = Field(default=None, description="another image; absent for the one made from the distribution")
    packages: tuple[str, ...] = Field(default=(), description="Debian packages, without recommended ones")
    python: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")], ...] = Field(
        default=(),
        description="packages of PyPI, by normalized name, without versions: the release pins them. They go into the "
        "virtualenv /opt/scs, which an image shares with its parent",
    )
    system_site_packages: bool = Field(
        default=False, description="the virtualenv sees Debian's Python packages too, behind its own"
    )
    files: tuple[File, ...] = Field(default=(), description="written before the packages are installed")
    run: tuple[str, ...] = Field(default=(), description="shell commands after the packages, as root")
    entrypoint: tuple[str, ...] | None = Field(default=None, description="default: the parent's")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of every process; never a secret")
    stop_signal: str | None = Field(default=None, description="default: the parent's")


def load_recipes(release: Release) -> dict[str, Recipe]:
    """Recipes of all images that the release builds.

    :raises RefusedError: a recipe is missing or wrong, or has an unknown parent
    """
    recipes = {}
    for name, image in release.images.items():
        if image.reference is None:
            recipes[name] = load_model(Recipe, paths.root() / file_of(name, release), {"name": name})
    for name, recipe in recipes.items():
        if recipe.parent is not None and recipe.parent not in recipes:
            raise RefusedError(
                f"{file_of(name, release)}: parent: no image '{recipe.parent}' in release {release.name}",
                f"there are: {', '.join(recipes)}",
            )
    return recipes


def file_of(image: str, release: Release) -> str:
    """The recipe's file, from the project's root."""
    return f"images/{release.images[image].recipe or image}.yml"


def select_pins(recipes: Mapping[str, Recipe], release: Release) -> dict[str, dict[str, Pin]]:
    """The Python packages of every image's own requirements and all that those need: image: {package: pin}.

    :raises RefusedError: a requirement without a pin, or in a release without pins
    """
    locked = pins.load(release)
    found: dict[str, dict[str, Pin]] = {}
    for name, recipe in recipes.items():
        where = f"{file_of(name, release)}: python"
        if recipe.python and locked is None:
            raise RefusedError(f"{where}: release {release.name} has no `python`", f"releases/{release.name}.yml")
        found[name] = (
            pins.select(locked, recipe.python, where, pins.path_of(release.name)) if locked and recipe.python else {}
        )
    return found


def build_order(recipes: Mapping[str, Recipe], names: tuple[str, ...] = ()) -> list[str]:
    """The named images (default: all) and those below them, each after its parent.

    :raises RefusedError: an unknown name, or parents in a circle
    """
    ordered: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise RefusedError(f"images/{name}.yml: parent: cycle: {' -> '.join((*trail, name))}")
        parent = recipes[name].parent
        if parent is not None:
            visit(parent, (*trail, name))
        if name not in ordered:
            ordered.append(name)

    for name in names or recipes:
        if name not in recipes:
            raise RefusedError(f"no image '{name}' in this release", f"there are: {', '.join(recipes)}")
        visit(name, ())
    return ordered


def recipe_key(recipe: Recipe, release: Release, selection: Mapping[str, Pin]) -> str:
    """Hash of all that a recipe says, of its Python packages, and of the suites; for the image without a parent, of
    the users too.

    :param selection: the recipe's of `select_pins`
    """

    said = recipe.model_dump(mode="json")
    if not recipe.python:
        # an image of Debian packages alone has the key that it had before there were others
        del said["python"], said["system_site_packages"]
    parts = [
        FORMAT,
        said,
        [s.model_dump(mode="json") for s in release.suites],
        release.distribution,
        {n: u.model_dump(mode="json") for n, u in users.load().items()} if recipe.parent is None else None,
    ]
    if selection:
        parts.append({name: [pin.version, *pin.sha256] for name, pin in selection.items()})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def inputs_hash(key: str, parent: str | None, packages: Mapping[str, str]) -> str:
    """Equal inputs make an equal image.

    :param key: `recipe_key`
    :param parent: the parent's own inputs
    :param packages: package: version of what the image adds of Debian; those of PyPI are in the key
    """
    return hashlib.sha256(json.dumps([key, parent, sorted(packages.items())]).encode()).hexdigest()
