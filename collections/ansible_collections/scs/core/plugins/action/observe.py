# SPDX-License-Identifier: Apache-2.0
"""Renders all files of a host, observes the host, and returns only the differences.

For hosts that plain ssh cannot reach; see scs_deploy/engine/looking.py.
"""

from __future__ import annotations

from typing import Any

from scs_deploy.engine import looking
from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.observe."""

    module = "scs.core.observe"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Returns the changes of this host; with `states`, also the states of its containers."""
        desired = self.desired(region, variables, self._task.args.get("services"))
        answer = self.on_node(looking.question(region, desired), variables)
        if answer.get("failed") or answer.get("unreachable"):
            return answer
        result = looking.judged(region, desired, answer, bool(self._task.args.get("states")))
        return {"changed": False, **result, "plan": result["plan"].model_dump(mode="json")}
