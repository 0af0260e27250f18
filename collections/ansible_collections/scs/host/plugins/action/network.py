# SPDX-License-Identifier: Apache-2.0
"""scs.host.network: see plugins/modules/network.py; scs_deploy.host.network has the logic."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.action import RegionAction
from scs_deploy.host.network import action
from scs_deploy.region.region import Region

DEFAULTS = {"renderer": "networkd", "seconds": 60, "replaces": []}


class ActionModule(RegionAction):
    """Passes the module and the connection to the logic."""

    module = "scs.host.network"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Configure the host's network as its links say, with consent."""
        host = region.inventory.hosts[variables["inventory_hostname"]]
        options = {**DEFAULTS, **{k: v for k, v in self._task.args.items() if k in DEFAULTS}}

        def on_node(arguments: Mapping[str, Any]) -> dict[str, Any]:
            try:
                answer = self.on_node(dict(arguments), variables)
            except AnsibleConnectionFailure as error:
                raise action.UnreachedError(" ".join(str(error).split())[-200:]) from None
            if answer.get("unreachable"):
                raise action.UnreachedError(str(answer.get("msg")))
            if answer.get("failed"):
                raise ScsError(f"host {host.name}: {answer.get('msg')}")
            if self._connection.transport == "local":
                # this host is the manager, so the SSH connection is the operator's session
                answer.pop("connection", None)
            return answer

        def reconnect() -> None:
            with contextlib.suppress(AnsibleError):
                self._connection.reset()

        consent = action.allowed(region) and not self._task.check_mode and os.environ.get(action.STATE) != "plan"
        result = action.act(host.name, host.links, options, consent, on_node, reconnect)
        if self._task.check_mode and result.get("held"):
            result["changed"] = True
        return result
