# SPDX-License-Identifier: Apache-2.0
"""Image recipes (`images/<name>.yml`): a parent, Debian packages, and little else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import Field

from scs_deploy import paths
from scs_deploy.errors import RefusedError
from scs_deploy.model import Model, load_model
from scs_deploy.release import Release

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
            path = paths.root() / "images" / f"{image.recipe or name}.yml"
            recipes[name] = load_model(Recipe, path, {"name": name})
    for name, recipe in recipes.items():
        if recipe.parent is not None and recipe.parent not in recipes:
            raise RefusedError(
                f"images/{name}.yml: parent: no image '{recipe.parent}' in release {release.name}",
                f"there are: {', '.join(recipes)}",
            )
    return recipes


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


def recipe_key(recipe: Recipe, release: Release) -> str:
    """Hash of all that a recipe says, and of the suites; for the image without a parent, of the users too."""
    from scs_deploy.images import users

    parts = [
        FORMAT,
        recipe.model_dump(mode="json"),
        [s.model_dump(mode="json") for s in release.suites],
        release.distribution,
        {n: u.model_dump(mode="json") for n, u in users.load().items()} if recipe.parent is None else None,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def inputs_hash(key: str, parent: str | None, packages: Mapping[str, str]) -> str:
    """Equal inputs make an equal image.

    :param key: `recipe_key`
    :param parent: the parent's own inputs
    :param packages: package: version that the image adds
    """
    return hashlib.sha256(json.dumps([key, parent, sorted(packages.items())]).encode()).hexdigest()
