# SPDX-License-Identifier: Apache-2.0
"""Loads the region once in Ansible's parent process; the workers that it forks inherit it."""

from __future__ import annotations

import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: preload
type: notification
short_description: Load the region's context before workers fork
description: Every worker needs catalog, inventory and secrets. Loaded once in the parent, they cost a worker nothing.
requirements: [scs_deploy]
author: SCS deploy contributors
"""


class CallbackModule(CallbackBase):
    """Loads on start; prints nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "scs.core.preload"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook) -> None:
        """Load what rendering needs, secrets and certificates included."""
        if name := os.environ.get("SCS_ENVIRONMENT"):
            from scs_deploy import context
            from scs_deploy.errors import ScsError

            try:
                shared = context.shared(name)
                _ = shared.secrets, shared.certificates, shared.overrides
            except ScsError as error:
                # each task says it again, as its own failure, where a run record keeps it
                self._display.warning(str(error))
