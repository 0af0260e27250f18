# SPDX-License-Identifier: Apache-2.0
"""scs.host.firewall: see plugins/modules/firewall.py; scs_deploy.host.firewall has the logic."""

from __future__ import annotations

from typing import Any

from scs_deploy.desired import firewall
from scs_deploy.host.firewall import action
from scs_deploy.host.trial_action import TrialAction
from scs_deploy.region.region import Region


class ActionModule(TrialAction):
    """Action of scs.host.firewall."""

    module = "scs.host.firewall"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Set the host's packet filter."""
        host = region.inventory.hosts[variables["inventory_hostname"]]
        managed = region.environment.settings.firewall.managed
        return action.act(
            firewall.rules(region, host) if managed else None,
            firewall.trusted(region),
            firewall.ssh_port(host),
            int(self._task.args.get("seconds", 30)),
            self._task.check_mode,
            self.module_of(host.name, variables),
            self.reconnect,
        )
