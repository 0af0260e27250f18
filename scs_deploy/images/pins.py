# SPDX-License-Identifier: Apache-2.0
"""The Python packages that a release's images may install (`releases/constraints/<release>.yml`), and who needs which.

Pure, but for reading the file. Names are normalized: https://packaging.python.org/specifications/name-normalization/
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

    version: str = Field(description="the only one that is installed")
    sha256: tuple[str, ...] = Field(description="of the files that may be installed: any other is refused")
    wheel: bool = Field(default=True, description="false: upstream publishes sources only, a wheel is built of them")
    requires: tuple[str, ...] = Field(default=(), description="packages that it needs on this platform, with extras'")


class Pins(Model):
    """The keys of `releases/constraints/<release>.yml`."""

    python: str = Field(description="version of the interpreter that this was resolved for, e.g. 3.13")
    packages: dict[str, Pin] = Field(description="by normalized name")


def normalize(name: str) -> str:
    """`Oslo.Config` and `oslo_config` are `oslo-config`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def path_of(release: str) -> Path:
    """Where a release's pins stand."""
    return paths.root() / "releases" / "constraints" / f"{release}.yml"


def load(release: Release) -> Pins | None:
    """The release's pins; None for a release without Python packages of its own.

    :raises RefusedError: the file is missing or wrong
    """
    if release.python is None:
        return None
    path = path_of(release.name)
    if not path.is_file():
        raise RefusedError(f"{path}: no such file", f"tools/constraints.py {release.name} writes it")
    return load_model(Pins, path)


def select(pins: Pins, requirements: Iterable[str], where: str, path: Path) -> dict[str, Pin]:
    """The packages of `requirements` and all that they need, by name, sorted.

    :param where: file and key of the requirements, for the error
    :param path: of the pins, for the error
    :raises RefusedError: one of them is not pinned
    """
    found: dict[str, Pin] = {}
    waiting = [(normalize(name), where) for name in requirements]
    while waiting:
        name, asker = waiting.pop()
        if name in found:
            continue
        if name not in pins.packages:
            raise RefusedError(f"{path}: packages: no pin of '{name}', which {asker} needs", HINT)
        found[name] = pins.packages[name]
        waiting += [(needed, f"{name} {found[name].version}") for needed in found[name].requires]
    return dict(sorted(found.items()))


HINT = "renew the pins: tools/constraints.py"


def unused(pins: Pins, selections: Iterable[Mapping[str, Pin]]) -> set[str]:
    """Pins that no image needs."""
    return set(pins.packages).difference(*selections)


def lines(selection: Mapping[str, Pin]) -> str:
    """The selection as pip's requirements file: exact versions, with hashes."""
    return "".join(
        f"{name}=={pin.version} {' '.join(f'--hash=sha256:{digest}' for digest in pin.sha256)}\n"
        for name, pin in selection.items()
    )
