# SPDX-License-Identifier: Apache-2.0
"""Pulls images."""

from __future__ import annotations

from typing import Any

from scs_deploy.ansible.action import RegionAction
from scs_deploy.context import Context


class ActionModule(RegionAction):
    """Action of scs.core.images: takes container names, pulls what they and their jobs run."""

    module = "scs.core.images"

    def act(self, region: Context, variables: dict[str, Any]) -> dict[str, Any]:
        """Pull the images of the named containers."""
        desired = self.desired(region, variables)
        references = sorted({desired.containers[c].image for c in self._task.args["pull"]})
        return self.on_node({"pull": references}, variables)
