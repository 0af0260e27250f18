# SPDX-License-Identifier: Apache-2.0
"""scs.host.region_info: values of a region that roles need; runs on the manager."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine.action import RegionAction
from scs_deploy.operations import bootstrap
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """See plugins/modules/region_info.py."""

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """The values; nothing changes."""
        return {"changed": False, **bootstrap.facts_of(region)}
