# SPDX-License-Identifier: Apache-2.0
"""Renders all files of a host, observes the host, and returns only the differences."""

from __future__ import annotations

from typing import Any

from scs_deploy.desired.endpoints import endpoints
from scs_deploy.engine.action import RegionAction
from scs_deploy.observed.model import Observed
from scs_deploy.plan.host import container_states, plan_host
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.observe."""

    module = "scs.core.observe"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Returns the changes of this host; with `states`, also the states of its containers."""
        desired = self.desired(region, variables, self._task.args.get("services"))
        api = region.environment.settings.api
        asked = {
            "files": {p: f.sha256 for p, f in desired.files.items()},
            "tables": [e.name for e in endpoints(region) if e.balance == "single" and len(e.backends) > 1],
            "addresses": [str(api.internal.address), str(api.external.address)],
        }
        answer = self.on_node(asked, variables)
        if answer.get("failed") or answer.get("unreachable"):
            return answer
        observed = Observed.model_validate({k: answer[k] for k in Observed.model_fields if k in answer})
        plan = plan_host(desired, observed, tuple(region.secrets.values()), region.lock)
        result: dict[str, Any] = {"changed": False, "plan": plan.model_dump(mode="json")}
        if self._task.args.get("states"):
            result["states"] = container_states(desired, observed)
        return result
