# SPDX-License-Identifier: Apache-2.0
"""Writes rendered files."""

from __future__ import annotations

import base64
from typing import Any

from scs_deploy.desired.model import NODE_CONFIG
from scs_deploy.engine.action import RegionAction
from scs_deploy.region.region import Region


class ActionModule(RegionAction):
    """Action of scs.core.files: takes names `<container>/<file>`, and renders and writes these files."""

    module = "scs.core.files"

    def act(self, region: Region, variables: dict[str, Any]) -> dict[str, Any]:
        """Write and remove the named files."""
        names = self._task.args.get("write", ())
        owners = {region.catalog.owner[name.partition("/")[0]] for name in names}
        files = self.desired(region, variables, owners).files
        chosen = [files[f"{NODE_CONFIG}/{name}"] for name in names]
        write = [
            {
                "path": f.path,
                "content": base64.b64encode(f.content.encode()).decode(),
                "mode": f.mode,
                "uid": f.uid,
                "gid": f.gid,
            }
            for f in chosen
        ]
        remove = [f"{NODE_CONFIG}/{name}" for name in self._task.args.get("remove", ())]
        return self.on_node({"write": write, "remove": remove}, variables)
