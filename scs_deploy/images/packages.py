# SPDX-License-Identifier: Apache-2.0
"""The packages of an image: from its dpkg database, and from the metadata of its virtualenv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

PYPI = "pypi:"
"""Before a Python package's name: Debian may have a package of the same name."""


class Package(NamedTuple):
    """One installed package, of Debian or, where its name begins with `pypi:`, of PyPI."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str


def parse(output: str) -> tuple[Package, ...]:
    """What apt.DPKG_QUERY and python.QUERY print, installed packages only, sorted."""
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


def debian(versions: Mapping[str, str]) -> dict[str, str]:
    """Those of Debian."""
    return {name: version for name, version in versions.items() if not name.startswith(PYPI)}
