# SPDX-License-Identifier: Apache-2.0
"""Stops a run before its next play if an operator paused it: started tasks finish, and no other starts."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: gate
type: notification
short_description: Stop before the next play
description:
  - Checks for the file that C(SCS_RUN_PAUSE) names before every play, and before every host of a serial play.
  - Runs in Ansible's own process, so that no task of the next play has started.
author: SCS deploy contributors
"""

PAUSED = 75
"""Exit code: temporary failure, sysexits.h."""


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """Checks for the file and ends the process; prints nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "scs.core.gate"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """End the process if the run is paused. No task of the play has started yet."""
        gate = os.environ.get("SCS_RUN_PAUSE")
        if play.vars.get("scs_together"):
            # a server is out of the load balancers, and must return first
            return
        if gate and os.path.exists(gate):  # noqa: PTH110
            raise SystemExit(PAUSED)
