# SPDX-License-Identifier: Apache-2.0
"""Base class of the action plugins that try a change which may cut a host off; see `trial`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.action import RegionAction
from scs_deploy.host.trial import OnNode, UnreachedError


class TrialAction(RegionAction):
    """Passes the module and the connection to the logic."""

    def module_of(self, host: str, variables: dict[str, Any]) -> OnNode:
        """Runs the module on the host, as `trial` expects it."""

        def on_node(arguments: Mapping[str, Any]) -> dict[str, Any]:
            try:
                answer = self.on_node(dict(arguments), variables)
            except AnsibleConnectionFailure as error:
                raise UnreachedError(" ".join(str(error).split())[-200:]) from None
            if answer.get("unreachable"):
                raise UnreachedError(str(answer.get("msg")))
            if answer.get("failed"):
                raise ScsError(f"host {host}: {answer.get('msg')}")
            if self._connection.transport == "local":
                # this host is the manager, so the SSH connection is the operator's session
                answer.pop("connection", None)
            return answer

        return on_node

    def reconnect(self) -> None:
        """Close the connection, so that the next call of the module opens a new one."""
        with contextlib.suppress(AnsibleError):
            self._connection.reset()
