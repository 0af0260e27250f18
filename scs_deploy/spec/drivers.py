# SPDX-License-Identifier: Apache-2.0
"""Names of cluster drivers: every module of the package of drivers, and what other distributions offer.

A driver that is not shipped is an entry point of the group `scs.clusters`: `name = "module:Class"`. The names are known
here, where service specs are checked; a driver itself is loaded by scs_deploy.clusters.
Source: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import pkgutil
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import scs_deploy

PACKAGE = "scs_deploy.clusters"
GROUP = "scs.clusters"
CLASS = "Driver"
"""Name of a shipped driver's class."""
INTERFACE = "base"
"""The module that is no driver."""


def shipped() -> frozenset[str]:
    """Drivers of this distribution."""
    folder = Path(scs_deploy.__file__).parent / PACKAGE.rpartition(".")[2]
    return frozenset(m.name for m in pkgutil.iter_modules([str(folder)])) - {INTERFACE}


def find(name: str) -> EntryPoint | None:
    """Where a driver is; None: there is none of this name."""
    if name in shipped():
        return EntryPoint(name, f"{PACKAGE}.{name}:{CLASS}", GROUP)
    return next(iter(entry_points(group=GROUP, name=name)), None)


def known() -> list[str]:
    """All names, sorted."""
    return sorted({*shipped(), *(e.name for e in entry_points(group=GROUP))})
