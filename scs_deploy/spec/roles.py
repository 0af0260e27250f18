# SPDX-License-Identifier: Apache-2.0
"""The variables that the host roles declare."""

from __future__ import annotations

from scs_deploy.base import paths
from scs_deploy.base.model import load_yaml


def variables() -> frozenset[str]:
    """The roles' variables, which an inventory may set; from their argument_specs."""
    found: set[str] = set()
    for spec in (paths.layer("host") / "roles").glob("*/meta/argument_specs.yml"):
        found |= set(load_yaml(spec)["argument_specs"]["main"].get("options", {}))
    return frozenset(found)
