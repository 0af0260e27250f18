# SPDX-License-Identifier: Apache-2.0
"""Which scs this is."""

from __future__ import annotations

import importlib.metadata
import subprocess
from functools import cache

from scs_deploy.base import paths

DISTRIBUTION = "scs-deploy"


@cache
def version() -> str:
    """The release, and in a checkout the commit: `0.1.0+g1a2b3c4d5`, with `.dirty` where files differ from it.

    The form is that of local version identifiers, https://packaging.python.org/en/latest/specifications/version-specifiers/
    """
    try:
        release = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        release = "0"
    commit = _commit()
    return f"{release}+g{commit}" if commit else release


def _commit() -> str:
    root = paths.root()
    if not (root / ".git").exists():
        return ""
    # only tracked files make it dirty: what an environment writes into the checkout says nothing about scs
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=9", "--dirty=.dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        # no git, or a checkout of another user: the release must do
        return ""
