# SPDX-License-Identifier: Apache-2.0
"""The packages of an image, from its dpkg database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Package(NamedTuple):
    """One installed Debian package."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str


def parse(output: str) -> tuple[Package, ...]:
    """What apt.DPKG_QUERY prints, installed packages only, sorted."""
    rows = (line.split("\t") for line in output.splitlines())
    return tuple(sorted(Package(*row[1:]) for row in rows if len(row) == 6 and row[0].startswith("ii")))


def write(packages: Iterable[Package]) -> str:
    """The text that `parse` reads."""
    return "".join("\t".join(("ii", *p)) + "\n" for p in packages)


def versions(packages: Iterable[Package]) -> dict[str, str]:
    """package: version."""
    return {p.name: p.version for p in packages}


def own(packages: Iterable[Package], parent: Iterable[Package]) -> dict[str, str]:
    """package: version of what is not the same in the parent image."""
    inherited = versions(parent)
    return {p.name: p.version for p in packages if inherited.get(p.name) != p.version}
