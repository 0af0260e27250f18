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
        actions = [
            a if a["action"] == "remove" else a | _definition(containers[a["container"]], endpoints(region), host)
            for a in wanted
        ]
        return self.on_node({"actions": actions}, variables)


def _definition(run: RunContainer, endpoints: tuple[ResolvedEndpoint, ...], host: str) -> dict[str, Any]:
    """A container's definition for the node's module; `module_utils/definition.py` reads the relevant fields."""
    own = [(e, b.name) for e in endpoints for b in e.backends if e.container == run.name and b.name == host]
    servers = [at(b.address, b.port) for e in endpoints if e.protocol == "tcp" for b in e.backends]
    return {
        **run.model_dump(mode="json"),
        "members": [(e.name, member) for e, member in own],
        "copies": [e.name for e, _ in own if e.copies],
        "servers": servers if run.roll.handover else [],
    }
