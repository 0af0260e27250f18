# SPDX-License-Identifier: Apache-2.0
"""Copies of what the project ships, without what a region that is deployed from this checkout has put beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

# as in .gitignore
NOT_SHIPPED = shutil.ignore_patterns(
    "state",
    "secrets.yml",
    "certificates.yml",
    "ca.crt",
    "vault_password",
    "release.lock*.yml",
    "release.options.*.json",
)


def environment(source: Path, target: Path) -> None:
    """Copy an environment as it is shipped."""
    shutil.copytree(source, target, ignore=NOT_SHIPPED)
