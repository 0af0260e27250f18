# SPDX-License-Identifier: Apache-2.0
"""A record on this manager of which database backups were verified."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from scs_deploy.base.files import replace
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment

KEPT = 200


def read(environment: Environment) -> dict[str, str]:
    """Backup id: when its database was last verified. An unreadable record counts as empty."""
    try:
        found = json.loads(_file(environment).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def remember(environment: Environment, backup: str) -> None:
    """Record that a backup's database was restored and compared."""
    known = read(environment) | {backup: datetime.now(UTC).isoformat(timespec="seconds")}
    sharing.make_state(environment)
    replace(_file(environment), json.dumps({k: known[k] for k in sorted(known)[-KEPT:]}, indent=1) + "\n")


def _file(environment: Environment) -> Path:
    return environment.state / "verified-backups.json"
