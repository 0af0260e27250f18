# SPDX-License-Identifier: Apache-2.0
"""Base class of the action plugins: tasks contain only names; contents and secrets come from the region."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from ansible.plugins.action import ActionBase

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired import resolve
from scs_deploy.desired.model import DesiredHost
from scs_deploy.region.region import Region, shared_region


class RegionAction(ActionBase):  # type: ignore[misc]
    """Runs `act` with the region, and turns errors into one-line task failures."""

    _supports_check_mode = True
    _supports_async = False
    module = ""
    """the module that does the work on the node, e.g. scs.core.files"""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry point."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            region = shared_region(os.environ["SCS_ENVIRONMENT"])
            result.update(self.act(region, variables))
        except KeyError as error:
            result.update(failed=True, msg=f"{error.args[0]}: not set or unknown; run this through scs")
        except ScsError as error:
            result.update(failed=True, msg=str(error), refused=isinstance(error, RefusedError))
        # module arguments contain file contents, which must not reach an event or a record
        result.pop("invocation", None)
        return result

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Carry out the plugin's task."""
        raise NotImplementedError

    def desired(
        self, region: Region, variables: dict[str, Any], services: Collection[str] | None = None
    ) -> DesiredHost:
        """The desired state of the task's host, for some services or for all."""
        return resolve.resolve(region, variables["inventory_hostname"], services)

    def on_node(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Run the plugin's module on the node with `arguments`."""
        answer: dict[str, Any] = self._execute_module(
            module_name=self.module, module_args=arguments, task_vars=variables
        )
        return answer
