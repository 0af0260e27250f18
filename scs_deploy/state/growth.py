# SPDX-License-Identifier: Apache-2.0
"""How large what grows in a region's state folder is. docs/how-to/what-grows.md has the bounds."""

from __future__ import annotations

import os
from pathlib import Path

from scs_deploy.environment.environment import Environment

PLACES = {
    "records": ("runs.sqlite3*",),
    "run files": ("runs",),
    "snapshots": ("inputs",),
    "restored": ("restored",),
    "log": ("scs.log*",),
    "backups": ("backups",),
}
"""What grows: patterns below the state folder."""


def sizes(environment: Environment) -> dict[str, int]:
    """Bytes on the disk by what they hold, without what takes none."""
    found = {
        what: sum(_size(path) for pattern in patterns for path in environment.state.glob(pattern))
        for what, patterns in PLACES.items()
    }
    return {what: size for what, size in found.items() if size}


def _size(path: Path) -> int:
    """Files may vanish meanwhile, and others' folders stay closed."""
    if path.is_dir():
        return sum(_size(Path(base) / name) for base, _, names in os.walk(path) for name in names)
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0
