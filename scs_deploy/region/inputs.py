# SPDX-License-Identifier: Apache-2.0
"""Hashes the inputs of a run: runs with the same hash had the same description of the region."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.environment import cloud, own, storage
from scs_deploy.region.region import Region

SHARED = ("templates", "files")
"""Folders of a layer whose files its services share."""


def inputs(region: Region) -> str:
    """Hash of all inputs of a run: settings, inventory, release lock, specs, overrides, own services and images."""
    folder = region.environment.inventory
    # the first run of a region, which bootstraps its hosts, has no release lock yet
    optional = (region.environment.path / name for name in (storage.FILE, cloud.FILE))
    single = (region.environment.file, region.environment.lock_file, *optional)
    files = {f.name: f for f in single if f.is_file()}
    files |= {folder.name: folder} if folder.is_file() else {f"inventory/{name}": f for name, f in _below(folder)}
    files |= {f"config/{f}": region.overrides.directory / f for f in region.overrides.files}
    return _hash({**files, **spec_files(region), **own_files(region)})[:16]


def specs(region: Region) -> str:
    """Hash of the shipped service specs, their templates and their programs."""
    return _hash(spec_files(region))[:12]


def spec_files(region: Region) -> dict[str, Path]:
    """Name and path of every file that describes a shipped service: its directory, what its layer and core share."""
    services = [s for s in region.catalog.services.values() if not s.own]
    folders = {f"{s.layer}/services/{s.name}": s.directory for s in services}
    for layer in {"core", *(s.layer for s in services)}:
        folders |= {f"{layer}/{shared}": paths.layer(layer) / shared for shared in SHARED}
    return {f"{at}/{name}": file for at, folder in folders.items() for name, file in _below(folder)}


def own_files(region: Region) -> dict[str, Path]:
    """Path below the environment's folder, and path, of every file of its own services and images."""
    return {
        f"{folder}/{name}": file for folder in own.FOLDERS for name, file in _below(region.environment.path / folder)
    }


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in folder.rglob("*"):
        # Python writes compiled programs there when tests import them
        if file.is_file() and "__pycache__" not in file.parts:
            yield str(file.relative_to(folder)), file


def _hash(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
