# SPDX-License-Identifier: Apache-2.0
"""The packages of an image: from its dpkg database, of its virtualenv, and the modules in its Go programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

PYPI = "pypi:"
"""Prefix of Python packages, because Debian can have a package with the same name."""

GO = "go:"
"""Prefix of modules that are compiled into Go programs."""


class Package(NamedTuple):
    """One package: from Debian, or from elsewhere if its name starts with PYPI or GO."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str


def parse(output: str) -> tuple[Package, ...]:
    """Parse the output of apt.DPKG_QUERY, python.QUERY and go.LIST. Returns the installed packages, sorted."""
    rows = (line.split("\t") for line in output.splitlines())
    return tuple(sorted(Package(*row[1:]) for row in rows if len(row) == 6 and row[0].startswith("ii")))


def write(packages: Iterable[Package]) -> str:
    """Write packages in the format that `parse` reads."""
    return "".join("\t".join(("ii", *p)) + "\n" for p in packages)


def versions(packages: Iterable[Package]) -> dict[str, str]:
    """package: version."""
    return {p.name: p.version for p in packages}


def own(packages: Iterable[Package], parent: Iterable[Package]) -> dict[str, str]:
    """package: version of the packages that differ from the parent image."""
    inherited = versions(parent)
    return {p.name: p.version for p in packages if inherited.get(p.name) != p.version}


def debian(versions: Mapping[str, str]) -> dict[str, str]:
    """Only the packages from Debian."""
    return {name: version for name, version in versions.items() if not elsewhere(name)}


def elsewhere(name: str) -> bool:
    """Whether Debian knows nothing of a package of this name."""
    return name.startswith((PYPI, GO))
