# SPDX-License-Identifier: Apache-2.0
"""Brings containers to their desired state."""

from __future__ import annotations

from typing import Any

from scs_deploy.base.model import at
from scs_deploy.desired.endpoints import ResolvedEndpoint, endpoints
from scs_deploy.desired.model import RunContainer
from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.containers: actions with `action`, `container`, `wait` (default true), `leave` (false)."""

    module = "scs.core.containers"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Carry out the named actions."""
        wanted = self._task.args["actions"]
        owners = {region.catalog.owner[a["container"]] for a in wanted if a["action"] != "remove"}
        containers = self.desired(region, variables, owners).containers
        host = variables["inventory_hostname"]
        actions = [_spec(a["action"], a["container"], containers, endpoints(region), host) for a in wanted]
        for action, asked in zip(actions, wanted, strict=True):
            if not asked.get("leave"):
                action["leave"] = None
            if not asked.get("wait", True):
                # somebody else waits, for more than health or for several hosts at once
                action |= {"health": [], "members": []}
        return self.on_node({"actions": actions}, variables)


def _spec(
    action: str, name: str, containers: dict[str, RunContainer], endpoints: tuple[ResolvedEndpoint, ...], host: str
) -> dict[str, Any]:
    spec: dict[str, Any] = {"action": action, "container": name}
    if action != "remove":
        keys = {"body", "health", "health_timeout", "reload_signal", "reload_command", "volumes", "directories"}
        keys |= {"gate", "leave", "handover", "stay", "roll_timeout"}
        spec |= containers[name].model_dump(mode="json", include=keys)
        own = [(e, b.name) for e in endpoints for b in e.backends if e.container == name and b.name == host]
        spec["members"] = [(e.name, member) for e, member in own]
        spec["copies"] = [e.name for e, _ in own if e.copies]
        if containers[name].handover:
            spec["servers"] = [at(b.address, b.port) for e in endpoints if e.protocol == "tcp" for b in e.backends]
    return spec
