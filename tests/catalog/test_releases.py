# SPDX-License-Identifier: Apache-2.0
"""Every shipped release against the catalog: a region may go from one to the other."""

from __future__ import annotations

import pytest

from scs_deploy.base import paths
from scs_deploy.images import pins
from scs_deploy.images.recipe import load_recipes, recipe_key, select_pins
from scs_deploy.spec import catalog
from scs_deploy.spec.release import load_release

CATALOG = catalog.load()
RELEASES = sorted(path.stem for path in (paths.root() / "releases").glob("*.yml"))
SHARED = (
    "base",
    "node",
    "registry",
    "mariadb",
    "rabbitmq",
    "memcached",
    "haproxy",
    "ovn",
    "libvirt",
    "base-testing",
    "ceph",
)
"""What has nothing of OpenStack inside: the data plane and the databases."""


@pytest.mark.parametrize("name", RELEASES)
def test_every_image_that_the_catalog_uses_is_in_the_release(name: str) -> None:
    used = {c.image or service for service, s in CATALOG.services.items() for c in s.containers.values()}
    assert used <= set(load_release(name).images), name


@pytest.mark.parametrize("name", RELEASES)
def test_every_python_requirement_is_pinned_and_every_pin_is_required(name: str) -> None:
    release = load_release(name)
    selections = select_pins(load_recipes(release), release)
    locked = pins.load(release)
    assert (locked is None) == (not any(selections.values()))
    if locked:
        assert pins.unused(locked, selections.values()) == set()
        assert all(len(digest) == 64 for pin in locked.packages.values() for digest in pin.sha256)


@pytest.mark.parametrize("name", RELEASES)
def test_the_newest_point_releases_are_those_of_the_series(name: str) -> None:
    release = load_release(name)
    locked = pins.load(release)
    for package, numbers in (release.python.series if release.python else {}).items():
        assert locked and f"{locked.packages[package].version}.".startswith(f"{numbers}."), package


def test_what_is_not_openstack_is_the_same_image_in_both_releases() -> None:
    keys = []
    for name in ("2025.1", "2026.1"):
        release = load_release(name)
        recipes = load_recipes(release)
        selections = select_pins(recipes, release)
        keys.append({image: recipe_key(recipes[image], release, selections[image]) for image in SHARED})
    assert keys[0] == keys[1]
