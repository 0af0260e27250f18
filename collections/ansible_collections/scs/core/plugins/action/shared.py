# SPDX-License-Identifier: Apache-2.0
"""Changes state that hosts share: schemas, accounts, the catalogue. Runs on the manager; sends no module."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine import remote
from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region
from scs_deploy.shared import state as shared


class ActionModule(RegionAction):
    """Action of scs.core.shared: takes a kind (for people), servers, and the subjects of a plan."""

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Apply the named changes."""
        if self._task.check_mode:
            return {"changed": True, "done": []}
        run = remote.runner_in(region)
        done = shared.apply(region, self._task.args["servers"], self._task.args["subjects"], run)
        return {"changed": bool(done), "done": done}
