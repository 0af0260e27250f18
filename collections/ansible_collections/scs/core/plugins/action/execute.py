# SPDX-License-Identifier: Apache-2.0
"""Runs commands in containers, on hosts that plain ssh cannot reach; see scs_deploy/engine/remote.py."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine.action import RegionAction
from scs_deploy.engine.remote import with_bodies
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.execute: takes `{host: [command, ...]}` and runs the commands of the task's host."""

    module = "scs.core.execute"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Run this host's commands."""
        host = variables["inventory_hostname"]
        commands = with_bodies(region, host, self._task.args["commands"].get(host, ()))
        return self.on_node({"commands": commands, "together": bool(self._task.args.get("together"))}, variables)
