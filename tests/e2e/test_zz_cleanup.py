# SPDX-License-Identifier: Apache-2.0
"""The last tests: what the others kept goes, and the region is left as it was found."""

from __future__ import annotations

import pytest

from tests.e2e.blackbox import RegionUnderTest

pytestmark = pytest.mark.e2e


@pytest.mark.long
def test_every_check_passes(region: RegionUnderTest) -> None:
    """Here, because it removes what the others use."""
    report = region.scs("validate", "--json", expect=None).json()
    assert report["passed"], [r for r in report["results"] if r["verdict"] != "passed"]
    assert len(report["results"]) >= 16


def test_validation_leaves_nothing(region: RegionUnderTest) -> None:
    region.scs("validate", "flavor")
    kinds = ["server", "network", "router", "image", "flavor", "floating ip", "security group"]
    if any(container == "cinder_api" for _, container in region.containers()):
        kinds += ["volume", "volume snapshot", "volume backup"]
    for kind in kinds:
        named = region.openstack(*kind.split(), "list")
        left = [n for thing in named for n in map(str, thing.values()) if "scs-validate-" in n]
        assert not left, kind


def test_nothing_is_left_to_change(region: RegionUnderTest) -> None:
    assert region.plan() == []
