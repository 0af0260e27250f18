# SPDX-License-Identifier: Apache-2.0
"""What is installed: scs, its collections, and what they work with."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.model import Model, load_yaml
from scs_deploy.base.version import version


class About(Model):
    """What is installed."""

    version: str
    """see `version`"""
    release: str
    """of scs"""
    commit: str
    """nine digits of the commit; empty: a release as it was published"""
    root: Path
    """the folder with collections, releases and image recipes"""
    releases: tuple[str, ...]
    """of OpenStack, that it deploys"""
    collections: dict[str, str]
    """Ansible collection: version"""
    requirements: dict[str, str]
    """Python and the packages that a run depends on most: version"""


def about() -> About:
    """What is installed."""
    full = version()
    release, _, commit = full.partition("+g")
    files = sorted(paths.collections().glob("ansible_collections/*/*/galaxy.yml"))
    collections = [load_yaml(file) for file in files]
    packages = {name: importlib.metadata.version(name) for name in ("ansible-core", "ansible-runner", "openstacksdk")}
    return About(
        version=full,
        release=release,
        commit=commit,
        root=paths.root(),
        releases=tuple(sorted(p.stem for p in (paths.root() / "releases").glob("*.yml"))),
        collections={f"{c['namespace']}.{c['name']}": str(c["version"]) for c in collections},
        requirements={"python": platform.python_version(), **packages},
    )
