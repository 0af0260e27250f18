# SPDX-License-Identifier: Apache-2.0
"""Image recipes (`images/<name>.yml`): a parent, packages from Debian or PyPI, and little else."""

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
from scs_deploy.spec.release import Release, Suite
from scs_deploy.spec.users import User

FORMAT = 2
"""Part of every key. Increment it when a change of the builder changes images."""


class File(Model):
    """A file that is added to an image before its packages."""

    path: str = Field(pattern="^/", description="absolute path")
    content: str = Field(description="text of the file")
    mode: str = Field(default="0644", pattern="^0[0-7]{3}$", description="octal permissions")


class GoModule(Model):
    """A Go module, of which an image has programs."""

    module: str = Field(pattern=r"^[a-zA-Z0-9.~_/-]+$", description="path of the module")
    version: str = Field(pattern=r"^v[0-9][a-zA-Z0-9.+-]*$", description="its version")
    sum: str = Field(
        pattern=r"^h1:[A-Za-z0-9+/]{43}=$", description="hash of the module's archive, as `go.sum` files have it"
    )
    programs: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")], Annotated[str, Field(pattern=r"^\./")]] = (
        Field(min_length=1, description="name in /usr/local/bin: package of the module, e.g. `./cmd/name`")
    )
    variables: dict[
        Annotated[str, Field(pattern=r"^[a-zA-Z0-9.~_/-]+$")], Annotated[str, Field(pattern=r"^[a-zA-Z0-9.+_-]*$")]
    ] = Field(default_factory=dict, description="values of string variables, by path and name: versions that are shown")


class Recipe(Model):
    """The keys of a recipe."""

    name: str
    description: str = Field(description="content of the image, in a few words")
    parent: str | None = Field(
        default=None, description="parent image; absent for an image that is built from a distribution"
    )
    suites: tuple[Suite, ...] = Field(
        default=(),
        description="without a parent: a distribution of its own, in place of the release's suites; the images that "
        "have it as their parent install from it too",
    )
    packages: tuple[str, ...] = Field(default=(), description="Debian packages, without recommended packages")
    python: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")], ...] = Field(
        default=(),
        description="PyPI packages by normalized name, without versions, which the release pins; installed into the "
        "virtualenv /opt/scs, which an image inherits from its parent",
    )
    system_site_packages: bool = Field(
        default=False, description="also make Debian's Python packages available in the virtualenv, after its own"
    )
    go: tuple[GoModule, ...] = Field(
        default=(),
        description="programs that Debian lacks, compiled with the compiler of the image's suites; `go.sum` in the "
        "module pins what they consist of",
    )
    files: tuple[File, ...] = Field(default=(), description="written before the packages are installed")
    run: tuple[str, ...] = Field(
        default=(), description="shell commands to run as root after the packages are installed"
    )
    entrypoint: tuple[str, ...] | None = Field(default=None, description="default: the parent's")
    environment: dict[str, str] = Field(
        default_factory=dict, description="environment variables of every process; never secrets"
    )
    stop_signal: str | None = Field(default=None, description="default: the parent's")


def load_recipes(release: Release) -> dict[str, Recipe]:
    """Load the recipes of all images that the release builds.

    :raises RefusedError: a recipe is missing or invalid, or has an unknown parent
    """
    recipes = {}
    for name, image in release.images.items():
        if image.reference is None:
            recipe = load_model(Recipe, paths.root() / file_of(name, release), {"name": name})
            if name in release.own and recipe.parent is None:
                raise RefusedError(f"{file_of(name, release)}: parent: is required", "base is the smallest image")
            if recipe.suites and recipe.parent:
                raise RefusedError(
                    f"{file_of(name, release)}: suites: an image installs from its parent's suites",
                    "write an image without parent that has these suites, and name it as the parent",
                )
            recipes[name] = recipe
    for name, recipe in recipes.items():
        if recipe.parent is not None and recipe.parent not in recipes:
            raise RefusedError(
                f"{file_of(name, release)}: parent: no image '{recipe.parent}' in release {release.name}",
                f"available: {', '.join(recipes)}",
            )
    return recipes


def root_of(recipes: Mapping[str, Recipe], name: str) -> str:
    """The image without a parent that an image comes from: it says from which suites packages come."""
    while (parent := recipes[name].parent) is not None:
        name = parent
    return name


def main_root(recipes: Mapping[str, Recipe]) -> str:
    """The image without a parent that has the release's suites."""
    return next(n for n, r in recipes.items() if r.parent is None and not r.suites)


def file_of(image: str, release: Release) -> str:
    """The recipe's file: relative to the project's root, or absolute in an environment."""
    if image in release.own:
        return str(release.own[image])
    return f"images/{release.images[image].recipe or image}.yml"


def select_pins(recipes: Mapping[str, Recipe], release: Release) -> dict[str, dict[str, Pin]]:
    """The Python packages that every image's recipe requires, with dependencies: image: {package: pin}.

    :raises RefusedError: a requirement has no pin, or the release has no pins
    """
    locked = pins.load(release)
    selections: dict[str, dict[str, Pin]] = {}
    for name, recipe in recipes.items():
        where = f"{file_of(name, release)}: python"
        if recipe.python and locked is None:
            raise RefusedError(
                f"{where}: release {release.name} has no `python`", f"add it to releases/{release.name}.yml"
            )
        selections[name] = (
            pins.select(locked, recipe.python, where, pins.path_of(release.name)) if locked and recipe.python else {}
        )
    return selections


def build_order(recipes: Mapping[str, Recipe], names: tuple[str, ...] = ()) -> list[str]:
    """The named images (default: all) and their ancestors, each after its parent.

    :raises RefusedError: an unknown name, or a cycle of parents
    """
    ordered: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise RefusedError(f"images/{name}.yml: parent: cycle: {' -> '.join((*trail, name))}", "change a parent")
        parent = recipes[name].parent
        if parent is not None:
            visit(parent, (*trail, name))
        if name not in ordered:
            ordered.append(name)

    for name in names or recipes:
        if name not in recipes:
            raise RefusedError(f"no image '{name}' in this release", f"available: {', '.join(recipes)}")
        visit(name, ())
    return ordered


def recipe_key(
    recipe: Recipe, release: Release, selection: Mapping[str, Pin], own: Mapping[str, User] | None = None
) -> str:
    """Hash of the recipe, its Python packages, and the suites; for the image without a parent, also of the users.

    :param selection: the recipe's entry of `select_pins`
    :param own: users that this image adds to its parent's
    """
    content = recipe.model_dump(mode="json")
    if not recipe.python:
        # keeps the keys that images of Debian packages had before recipes could name Python packages
        del content["python"], content["system_site_packages"]
    # likewise before recipes could have suites and Go modules
    del content["suites"]
    if not recipe.go:
        del content["go"]
    parts = [
        FORMAT,
        content,
        [s.content() for s in recipe.suites or release.suites],
        distribution(recipe, release),
        {n: u.model_dump(mode="json") for n, u in users.load().items()} if recipe.parent is None else None,
    ]
    if own:
        parts.append({"users": {n: u.model_dump(mode="json") for n, u in own.items()}})
    if selection:
        parts.append({name: [pin.version, *pin.sha256] for name, pin in selection.items()})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def distribution(recipe: Recipe, release: Release) -> str:
    """Debian's name for what an image without a parent is built from."""
    return recipe.suites[0].suite if recipe.suites else release.distribution


def inputs_hash(key: str, parent: str | None, packages: Mapping[str, str]) -> str:
    """Hash of everything that an image is built from. Equal inputs yield an equal image.

    :param key: `recipe_key`
    :param parent: the parent's inputs hash
    :param packages: package: version of the Debian packages that the image adds; the key covers those from PyPI
    """
    return hashlib.sha256(json.dumps([key, parent, sorted(packages.items())]).encode()).hexdigest()
