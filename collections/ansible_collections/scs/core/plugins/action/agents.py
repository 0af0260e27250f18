# SPDX-License-Identifier: Apache-2.0
"""Waits until Nova and Neutron report that processes are alive again. Runs on the manager; sends no module."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine.action import RegionAction
from scs_deploy.engine.agent_heartbeats import Agent, wait
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.agents."""

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Wait for reports that come after this task has begun."""
        if not self._task.check_mode:
            wanted = [Agent.model_validate(a) for a in self._task.args["agents"]]
            wait(region.environment, wanted)
        return {"changed": False}
