# SPDX-License-Identifier: Apache-2.0
"""Pulls images, and removes those of earlier runs."""

from __future__ import annotations

from typing import Any

from scs_deploy.desired.container import locked_images
from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.images: takes container names, and pulls the images of these containers and their jobs."""

    module = "scs.core.images"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Pull the images of the named containers."""
        names = self._task.args["pull"]
        desired = self.desired(region, variables, {region.catalog.owner[c] for c in names})
        references = sorted({desired.containers[c].image for c in names})
        return self.on_node({"pull": references, "keep": locked_images(region)}, variables)
