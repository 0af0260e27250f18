# SPDX-License-Identifier: Apache-2.0
"""Runs one-shot containers."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.jobs: takes names `<service>.<job>` of jobs to run and of successes to record, and `trial`."""

    module = "scs.core.jobs"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Run the named jobs on this host."""
        names = self._task.args.get("jobs", ())
        successes = self._task.args.get("record", ())
        jobs = self.desired(region, variables, {name.partition(".")[0] for name in (*names, *successes)}).jobs
        keys = {"name", "body", "volumes", "directories", "hash", "timeout"}
        wanted = [jobs[name].model_dump(mode="json", include=keys) for name in names]
        trial = {"trial": True} if self._task.args.get("trial") else {}
        return self.on_node(
            {"jobs": wanted, "record": {name: jobs[name].hash for name in successes}, **trial}, variables
        )
