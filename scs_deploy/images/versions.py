# SPDX-License-Identifier: Apache-2.0
"""The version of the program that an image is for. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from scs_deploy.images.packages import PYPI
from scs_deploy.images.recipe import Recipe
from scs_deploy.spec.release import LockedImage


def program(recipe: Recipe, locked: LockedImage, words: Iterable[str]) -> tuple[str, str]:
    """Package and version, of those that the recipe names; two empty strings if the lock has none of them.

    :param words: names of image and service: a package with one of them in its name comes before the others
    """
    named = [*(PYPI + p for p in recipe.python), *recipe.packages]
    there = [p for p in named if p in locked.packages]
    wanted = [w.replace("_", "-") for w in words]
    best = next((p for w in wanted for p in there if w in p), there[0] if there else "")
    return best.removeprefix(PYPI), locked.packages.get(best, "")
