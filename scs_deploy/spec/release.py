# SPDX-License-Identifier: Apache-2.0
"""A release (`releases/<name>.yml`: which images, from which suites) and a region's lock of what it resolved to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.base.shown import shown


class Suite(Model):
    """A Debian suite that images install from."""

    uri: str = Field(default="http://deb.debian.org/debian", description="a mirror")
    suite: str = Field(description="e.g. trixie-updates")
    components: tuple[str, ...] = Field(default=("main",), description="parts of the suite")
    valid_until: bool = Field(
        default=True, description="false: accept the suite after its Valid-Until date, as of a frozen mirror"
    )

    def content(self) -> dict[str, Any]:
        """As in files, for hashes; a key that was added later is there only if it says something."""
        data = self.model_dump(mode="json")
        if self.valid_until:
            del data["valid_until"]
        return data


class ImageSpec(Model):
    """An image of the release; its recipe is `images/<recipe>.yml`."""

    recipe: str | None = Field(default=None, description="default: the image's name; may have a folder before it")
    reference: str | None = Field(default=None, description="pull this image from elsewhere instead of building it")


class PythonPackages(Model):
    """Where a release takes Python packages from PyPI."""

    series: dict[str, str] = Field(
        description="package: first numbers of its version, e.g. nova: 33; the newest point release is pinned. Of all "
        "others the version that upstream tested, where it says one"
    )


class Release(Model):
    """The keys of `releases/<name>.yml`."""

    name: str
    description: str = Field(description="one line")
    openstack: str = Field(description="OpenStack series, e.g. 2025.1")
    slurp: bool = Field(description="skip-level upgrades start and end here")
    upgrades_from: tuple[str, ...] = Field(
        default=(), description="releases that `scs upgrade release` comes here from without one in between"
    )
    end_of_life: date | None = Field(default=None, description="no security updates from then on")
    distribution: str = Field(description="Debian code name")
    suites: tuple[Suite, ...] = Field(description="where packages come from")
    images: dict[str, ImageSpec] = Field(description="by image name; services refer to these")
    own: Mapping[str, Path] = Field(default_factory=dict)
    """image: recipe, of images that an environment adds"""
    python: PythonPackages | None = Field(
        default=None, description="images with Python packages from PyPI, pinned in releases/constraints/<name>.yml"
    )


class LockedImage(Model):
    """What an image of the release is in this region."""

    reference: str = Field(description="repository without registry and tag, e.g. scs/keystone")
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="manifest digest in the registry")
    size: int = Field(description="bytes, unpacked")
    packages: dict[str, str] = Field(
        default_factory=dict, description="package: version, of this image's own layer; Python packages as pypi:<name>"
    )


class Lock(Model):
    """The keys of `environments/<name>/release.lock.yml`."""

    release: str = Field(description="what it locks")
    images: dict[str, LockedImage] = Field(description="by image name")


def load_release(name: str, where: str = "") -> Release:
    """Load `releases/<name>.yml`.

    :param where: file and key that name the release, for the error
    :raises RefusedError: unknown release, or an error in its file
    """
    files = {p.stem: p for p in (paths.root() / "releases").glob("*.yml")}
    if name not in files:
        place = f"{where}: " if where else ""
        raise RefusedError(f"{place}no release '{shown(name)}'", f"there are: {', '.join(sorted(files))}")
    return load_model(Release, files[name], {"name": name, "own": {}})
