# SPDX-License-Identifier: Apache-2.0
"""The differences between two release locks: packages, image by image. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.spec.release import Lock


class Advisory(Model):
    """Debian's information about an update."""

    security: bool = Field(default=False, description="whether it comes from a security suite")
    names: tuple[str, ...] = Field(default=(), description="DSA and CVE numbers in the changelog since the old version")


class PackageChange(Model):
    """A package of an image's own layer."""

    name: str
    old: str = Field(description="version; empty: the package is new")
    new: str = Field(description="version; empty: the package was removed")
    advisory: Advisory = Advisory()


class ImageChange(Model):
    """An image whose digest changed."""

    image: str
    old: str = Field(description="digest; empty: the image is new")
    new: str = Field(description="digest; empty: the image was removed from the release")
    packages: tuple[PackageChange, ...] = Field(description="changed packages; empty: the recipe or parent changed")


def difference(old: Lock | None, new: Lock) -> tuple[ImageChange, ...]:
    """Changed images, sorted by name. If the releases differ, all images count as new."""
    before = old.images if old and old.release == new.release else {}
    result = []
    for image in sorted(before.keys() | new.images.keys()):
        a, b = before.get(image), new.images.get(image)
        if a and b and a.digest == b.digest:
            continue
        packages = _packages(a.packages if a else {}, b.packages if b else {}) if a and b else ()
        result.append(
            ImageChange(image=image, old=a.digest if a else "", new=b.digest if b else "", packages=tuple(packages))
        )
    return tuple(result)


def _packages(old: Mapping[str, str], new: Mapping[str, str]) -> Iterable[PackageChange]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield PackageChange(name=name, old=old.get(name, ""), new=new.get(name, ""))


def advised(changes: Iterable[ImageChange], advisories: Mapping[tuple[str, str], Advisory]) -> tuple[ImageChange, ...]:
    """Add Debian's information to each update.

    :param advisories: advisories by package and new version
    """
    return tuple(
        c.model_copy(
            update={
                "packages": tuple(
                    p.model_copy(update={"advisory": advisories.get((p.name, p.new), Advisory())}) for p in c.packages
                )
            }
        )
        for c in changes
    )
