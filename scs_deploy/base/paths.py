# SPDX-License-Identifier: Apache-2.0
"""Locations of the project's own files and of the operator's environments."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The checkout (or installation prefix) that holds collections/, releases/, images/ and environments/.

    SCS_ROOT overrides it. The default is the checkout that contains this file.
    """
    if env := os.environ.get("SCS_ROOT"):
        return Path(env).resolve()
    return Path(__file__).resolve().parents[2]


def collections() -> Path:
    """The entry for Ansible's collections path."""
    return root() / "collections"


def layer(name: str) -> Path:
    """The folder of the collection scs.<name>."""
    return collections() / "ansible_collections" / "scs" / name


def environments() -> Path:
    """The folder that holds the environments. SCS_ENVIRONMENTS overrides it, for environments in another repository."""
    if env := os.environ.get("SCS_ENVIRONMENTS"):
        return Path(env).resolve()
    return root() / "environments"
