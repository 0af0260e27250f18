# SPDX-License-Identifier: Apache-2.0
"""Runs commands in containers."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.execute: takes `{host: [command, ...]}` and runs the commands of the task's host."""

    module = "scs.core.execute"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Run this host's commands."""
        commands = [dict(c) for c in self._task.args["commands"].get(variables["inventory_hostname"], ())]
        owners = {region.catalog.owner[c["container"]] for c in commands if c["one_shot"]}
        containers = self.desired(region, variables, owners).containers if owners else {}
        for command in commands:
            if command["one_shot"]:
                body = dict(containers[command["container"]].body)
                body.pop("Healthcheck", None)
                host_config = {k: v for k, v in body["HostConfig"].items() if k != "RestartPolicy"}
                command["body"] = {
                    **body,
                    "Cmd": command["argv"],
                    "HostConfig": host_config,
                    "Labels": {"scs.execute": command["container"]},
                }
        return self.on_node({"commands": commands}, variables)
