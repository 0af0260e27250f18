# SPDX-License-Identifier: Apache-2.0
"""scs.host.network: see plugins/modules/network.py; scs_deploy.host.network has the logic."""

from __future__ import annotations

import os
from typing import Any

from scs_deploy.host.network import action
from scs_deploy.host.trial_action import TrialAction
from scs_deploy.region.region import Region

DEFAULTS = {"renderer": "networkd", "seconds": 60, "replaces": []}


class ActionModule(TrialAction):
    """Action of scs.host.network."""

    module = "scs.host.network"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Configure the host's network as its links say, with consent."""
        host = region.inventory.hosts[variables["inventory_hostname"]]
        options = {**DEFAULTS, **{k: v for k, v in self._task.args.items() if k in DEFAULTS}}

        consent = action.allowed(region) and not self._task.check_mode and os.environ.get(action.STATE) != "plan"
        on_node = self.module_of(host.name, variables)
        result = action.act(host.name, host.links, options, consent, on_node, self.reconnect)
        if self._task.check_mode and result.get("held"):
            result["changed"] = True
        return result
