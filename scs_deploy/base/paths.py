# SPDX-License-Identifier: Apache-2.0
"""Locations of the project's own files and of the operator's environments."""

from __future__ import annotations

import os
from pathlib import Path

INSTALLED = Path(__file__).resolve().parents[1] / "installed"
"""Where a wheel has what a checkout has beside scs_deploy/."""


def root() -> Path:
    """The folder that holds collections/, releases/, images/ and playbooks/: the checkout, or the installed package's.

    SCS_ROOT overrides it.
    """
    if env := os.environ.get("SCS_ROOT"):
        return Path(env).resolve()
    return INSTALLED if is_installed() else Path(__file__).resolve().parents[2]


def is_installed() -> bool:
    """Whether this is a package, installed by pip, and no checkout."""
    return INSTALLED.is_dir()


def collections() -> Path:
    """The entry for Ansible's collections path."""
    return root() / "collections"


def layer(name: str) -> Path:
    """The folder of the collection scs.<name>."""
    return collections() / "ansible_collections" / "scs" / name


def environments() -> Path:
    """The folder that holds the environments: that of the checkout; where scs is installed, the current folder's.

    SCS_ENVIRONMENTS overrides it.
    """
    if env := os.environ.get("SCS_ENVIRONMENTS"):
        return Path(env).resolve()
    return (Path.cwd() if is_installed() else root()) / "environments"
