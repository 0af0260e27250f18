# SPDX-License-Identifier: Apache-2.0
"""A container's files in a folder of the test, where its programs run as they do in the container."""

from __future__ import annotations

import os
from pathlib import Path

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region


def install(region: Region, host: str, container: str, folder: Path) -> Path:
    """Write the files that a container has on a host, flat, as they lie in its config_dir."""
    service = region.catalog.owner[container]
    for file in resolve.resolve(region, host, {service}).files.values():
        if file.container == container:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content, encoding="utf-8")
            path.chmod(int(file.mode, 8))
    return folder


def command(folder: Path, name: str, script: str) -> None:
    """A command that stands for one of the container's image."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def path(folder: Path) -> dict[str, str]:
    """An environment in which the commands of `folder` come first."""
    return {"PATH": f"{folder}:{os.defpath}"}
