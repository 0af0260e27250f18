# SPDX-License-Identifier: Apache-2.0
"""Loads the region that a command works on."""

from __future__ import annotations

from scs_deploy.cli import _names
from scs_deploy.region.region import Region


def load_region(environment: str | None) -> Region:
    """The region, whose names TAB completes from now on.

    :raises RefusedError: names file and key of the first error
    """
    region = Region.load(environment)
    _names.learn(region)
    return region
