# SPDX-License-Identifier: Apache-2.0
"""Loads the region that a command works on. Its names are kept for completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text

from scs_deploy.cli import _names
from scs_deploy.cli._options import errors

if TYPE_CHECKING:
    from scs_deploy.region.region import Region
    from scs_deploy.spec.catalog import LeftOut


def load_region(environment: str | None) -> Region:
    """The region, for a command that may change it.

    :raises RefusedError: names file and key of the first error
    """
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    _names.learn(region)
    return region


def load_for_reading(environment: str | None) -> Region:
    """The region without what of the operator's own has an error, for a command that only reads; says so on stderr.

    :raises RefusedError: an error anywhere else
    """
    from scs_deploy.region.region import Region

    region = Region.load(environment, reading=True)
    warn(region.left_out)
    _names.learn(region)
    return region


def warn(left_out: Iterable[LeftOut]) -> None:
    """One line on stderr about everything that is left out."""
    said = "; ".join(map(str, left_out))
    if said:
        errors.print(Text.assemble(("warning: ", "yellow"), f"without what has an error: {said}"))
