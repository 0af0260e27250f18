# SPDX-License-Identifier: Apache-2.0
"""Where the project's own files and the operator's environments are."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The checkout (or installation prefix) that holds collections/, releases/, images/ and environments/.

    SCS_ROOT overrides it; a checkout finds itself.
    """
    if env := os.environ.get("SCS_ROOT"):
        return Path(env).resolve()
    return Path(__file__).resolve().parents[2]


def collections() -> Path:
    """The folder Ansible calls a collections path."""
    return root() / "collections"


def layer(name: str) -> Path:
    """The folder of the collection scs.<name>."""
    return collections() / "ansible_collections" / "scs" / name


def environments() -> Path:
    """The folder of the regions; SCS_ENVIRONMENTS overrides it, for regions in a repository of their own."""
    if env := os.environ.get("SCS_ENVIRONMENTS"):
        return Path(env).resolve()
    return root() / "environments"
