# SPDX-License-Identifier: Apache-2.0
"""Loads the region once in Ansible's parent process; the workers that it forks inherit it."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: preload
type: notification
short_description: Load the region before workers fork
description:
  - Every worker needs catalog, inventory and secrets. Loaded once in the parent, they cost a worker nothing.
  - Ends the process before its first task if the files differ from those that C(SCS_INPUTS) has the hash of. From then
    on all workers use the files as they were at that moment.
requirements: [scs_deploy]
author: SCS deploy contributors
"""


RENDERING = tuple(f"scs.core.{name}" for name in ("containers", "files", "images", "jobs", "observe"))
"""Actions that render the desired state of a host."""


CHANGED = 78
"""Exit code: configuration error, sysexits.h. The manager knows it, see scs_deploy/engine/runner.py."""


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """Loads on start; prints nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "scs.core.preload"
    CALLBACK_NEEDS_ENABLED = True
    warm = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Load everything that rendering needs, including secrets and certificates."""
        if name := os.environ.get("SCS_ENVIRONMENT"):
            from scs_deploy.base import frozen
            from scs_deploy.base.errors import ScsError
            from scs_deploy.environment import environment
            from scs_deploy.region import sources
            from scs_deploy.region.region import INPUTS, shared_region

            try:
                if INPUTS in os.environ:
                    frozen.freeze(sources.files(environment.load(name)))
                shared = shared_region(name)
                _ = shared.secrets, shared.certificates, shared.overrides
                if INPUTS in os.environ:
                    shared.check_unchanged()
            except sources.ChangedError as error:
                # no task may start, also none that needs no region
                self._display.warning(str(error))
                raise SystemExit(CHANGED) from None
            except ScsError as error:
                # each task reports it again as its own failure, which the run record keeps
                self._display.warning(str(error))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Compile the templates once here instead of in each host's worker. This takes a tenth of a second."""
        if self.warm or task.action not in RENDERING or "SCS_ENVIRONMENT" not in os.environ:
            return
        self.warm = True
        from scs_deploy.base.errors import ScsError
        from scs_deploy.desired import resolve
        from scs_deploy.region.region import shared_region

        try:
            region = shared_region(os.environ["SCS_ENVIRONMENT"])
            kinds = {host.groups: name for name, host in region.inventory.hosts.items()}
            # useless if every host has different groups
            for name in kinds.values() if len(kinds) < len(region.inventory.hosts) else ():
                resolve.resolve(region, name)
        except ScsError:
            # the tasks that need it report the error
            return
