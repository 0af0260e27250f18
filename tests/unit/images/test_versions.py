# SPDX-License-Identifier: Apache-2.0
"""The version of the program that an image is for."""

from __future__ import annotations

import pytest

from scs_deploy.images.recipe import Recipe
from scs_deploy.images.versions import program
from scs_deploy.spec.release import LockedImage


@pytest.mark.parametrize(
    ("packages", "python", "locked", "words", "found"),
    [
        (
            ("ceph-common", "nova-compute"),
            (),
            ("ceph-common", "nova-compute"),
            ("nova-compute", "nova"),
            "nova-compute",
        ),
        (("galera-4", "mariadb-server"), (), ("galera-4", "mariadb-server"), ("mariadb",), "mariadb-server"),
        (("openvswitch-switch", "ovn-host"), (), ("openvswitch-switch", "ovn-host"), ("x",), "openvswitch-switch"),
        (("conntrack",), ("nova",), ("conntrack", "pypi:nova"), ("nova-compute", "nova"), "nova"),
        (("keystone",), (), (), ("keystone",), ""),
    ],
)
def test_it_is_that_of_the_package_that_the_image_is_named_after(
    packages: tuple[str, ...], python: tuple[str, ...], locked: tuple[str, ...], words: tuple[str, ...], found: str
) -> None:
    recipe = Recipe(name="x", description="x", packages=packages, python=python)
    image = LockedImage(
        reference="scs/x", digest=f"sha256:{0:064x}", size=1, packages={p: f"1.{n}" for n, p in enumerate(locked)}
    )
    package, version = program(recipe, image, words)
    assert package == found
    assert bool(version) == bool(found)
