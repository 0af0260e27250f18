# SPDX-License-Identifier: Apache-2.0
"""The pinned Python packages of a release's images (`releases/constraints/<release>.yml`) and their dependencies.

Pure, except for reading the file. Names are normalized: https://packaging.python.org/specifications/name-normalization/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.spec.release import Release


class Pin(Model):
    """One Python package."""

    version: str = Field(description="the only version that is installed")
    sha256: tuple[str, ...] = Field(description="hashes of the files that may be installed; pip rejects all others")
    wheel: bool = Field(default=True, description="false: upstream publishes only sources, and pip builds a wheel")
    requires: tuple[str, ...] = Field(
        default=(), description="packages that it depends on for this platform, including those of requested extras"
    )


class Pins(Model):
    """The keys of `releases/constraints/<release>.yml`."""

    python: str = Field(description="version of the interpreter that the pins were resolved for, e.g. 3.13")
    packages: dict[str, Pin] = Field(description="pins by normalized package name")


def normalize(name: str) -> str:
    """Normalize a package name: `Oslo.Config` and `oslo_config` become `oslo-config`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def path_of(release: str) -> Path:
    """The file with a release's pins."""
    return paths.root() / "releases" / "constraints" / f"{release}.yml"


def load(release: Release) -> Pins | None:
    """Load the release's pins; None for a release without Python packages of its own.

    :raises RefusedError: the file is missing or invalid
    """
    if release.python is None:
        return None
    path = path_of(release.name)
    if not path.is_file():
        raise RefusedError(f"{path}: no such file", f"run tools/constraints.py {release.name} to write it")
    return load_model(Pins, path)


def select(pins: Pins, requirements: Iterable[str], where: str, path: Path) -> dict[str, Pin]:
    """The pins of `requirements` and all their dependencies, sorted by name.

    :param where: file and key of the requirements, for the error
    :param path: file of the pins, for the error
    :raises RefusedError: a package is not pinned
    """
    selected: dict[str, Pin] = {}
    waiting = [(normalize(name), where) for name in requirements]
    while waiting:
        name, dependent = waiting.pop()
        if name in selected:
            continue
        if name not in pins.packages:
            raise RefusedError(f"{path}: packages: no pin for '{name}', which {dependent} requires", HINT)
        selected[name] = pins.packages[name]
        waiting += [(needed, f"{name} {selected[name].version}") for needed in selected[name].requires]
    return dict(sorted(selected.items()))


HINT = "update the pins with tools/constraints.py"


def unused(pins: Pins, selections: Iterable[Mapping[str, Pin]]) -> set[str]:
    """Pins that no image uses."""
    return set(pins.packages).difference(*selections)


def lines(selection: Mapping[str, Pin]) -> str:
    """The selection as a requirements file for pip: exact versions with hashes."""
    return "".join(
        f"{name}=={pin.version} {' '.join(f'--hash=sha256:{digest}' for digest in pin.sha256)}\n"
        for name, pin in selection.items()
    )
