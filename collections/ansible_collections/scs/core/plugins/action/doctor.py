# SPDX-License-Identifier: Apache-2.0
"""Looks at a host, and notes when the question was sent and the answer came, which bounds the host's clock."""

from __future__ import annotations

import time
from typing import Any

from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.doctor: takes what each host is asked, `{host: arguments}`."""

    module = "scs.core.doctor"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Returns the facts of this host."""
        asked = dict(self._task.args["hosts"][variables["inventory_hostname"]])
        sent = time.time()
        answer = self.on_node(asked, variables)
        return {**answer, "sent": sent, "received": time.time()}
