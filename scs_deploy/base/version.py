# SPDX-License-Identifier: Apache-2.0
"""The version of scs."""

from __future__ import annotations

import importlib.metadata
import subprocess
from functools import cache

from scs_deploy.base import paths

DISTRIBUTION = "scs-deploy"


@cache
def version() -> str:
    """The release, in a checkout with its commit: `0.1.0+g1a2b3c4d5`. Uncommitted changes add `.dirty`.

    This is a local version identifier, https://packaging.python.org/en/latest/specifications/version-specifiers/
    """
    try:
        release = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        release = "0"
    commit = _commit()
    # pip wrote the commit of its own time into the metadata of a checkout
    return f"{release.partition('+')[0]}+g{commit}" if commit else release


def _commit() -> str:
    root = paths.root()
    if not (root / ".git").exists():
        return ""
    # only tracked files count: files that an environment writes into the checkout are not part of scs
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=9", "--dirty=.dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # no git, or the checkout belongs to another user
        return ""
