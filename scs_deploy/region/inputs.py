# SPDX-License-Identifier: Apache-2.0
"""What a run goes by, as a hash: runs with the same hash went by the same description."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scs_deploy.region.region import Region


def inputs(region: Region) -> str:
    """Hash of everything the run goes by: settings, inventory, release lock, specs, overrides."""
    digest = hashlib.sha256()
    folder = region.environment.inventory
    # a region's first run, which prepares its hosts, has no release lock yet
    files = [f for f in (region.environment.file, region.environment.lock_file) if f.is_file()]
    files += sorted(p for p in ([folder] if folder.is_file() else folder.rglob("*")) if p.is_file())
    files += [region.overrides.directory / f for f in sorted(region.overrides.files)]
    for file in [*files, *_specs(region)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def specs(region: Region) -> str:
    """Hash of the service specs and templates."""
    digest = hashlib.sha256()
    for file in _specs(region):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _specs(region: Region) -> list[Path]:
    services = region.catalog.services.values()
    return [p for s in services for p in sorted(s.directory.rglob("*")) if p.is_file()]
