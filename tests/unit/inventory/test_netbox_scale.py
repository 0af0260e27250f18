# SPDX-License-Identifier: Apache-2.0
"""The recorded site of 1000 devices: number of requests and resulting hosts. benchmarks/netbox.py measures times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.inventory.source import Found
from tests.netbox.replay import Behaviour
from tests.netbox.site import host, read


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    yield read(tmp_path_factory.mktemp("scale"), name="scale")


def test_it_takes_twelve_requests_at_most(scale: Found) -> None:
    assert scale.requests <= 12


def test_reading_addresses_by_prefix_takes_fewer(scale: Found, tmp_path: Path) -> None:
    by_prefix = {"parent": ["10.100.0.0/20", "10.101.0.0/20", "fd00:101::/64"]}
    found = read(tmp_path, name="scale", addresses=by_prefix)
    assert found.requests < scale.requests
    assert found.document.hosts == scale.document.hosts


def test_every_active_host_is_there_and_every_other_device_is_counted(scale: Found) -> None:
    assert [str(p) for p in scale.problems] == []
    assert len(scale.document.hosts) == 895
    assert scale.left_out == {
        "role console-server": 1, "role leaf-switch": 60, "status failed": 11, "status offline": 12,
        "status planned": 11, "status staged": 11,
    }  # fmt: skip
    groups = {g: len(h) for g, h in scale.document.groups.items()}
    assert groups == {
        "ceph-osd": 190, "chassis": 693, "compute": 665, "control": 9, "manager": 3, "network": 28, "storage": 190,
    }  # fmt: skip


def test_each_host_has_its_own_addresses_from_all_pages(scale: Found) -> None:
    hosts = scale.document.hosts.values()
    assert len({str(h.networks["management"].address) for h in hosts}) == 895
    assert len({str(h.oob) for h in hosts}) == 895
    last = host(scale, "scale-cmp-699")
    assert [str(a) for a in last.links["eno1"].addresses] == ["10.101.3.241/20", "fd00:101::3f1/64"]


def test_shuffled_pages_give_the_same_inventory(scale: Found, tmp_path: Path) -> None:
    found = read(tmp_path, Behaviour(shuffle=7), name="scale")
    assert found.document.model_copy(update={"source": ""}) == scale.document.model_copy(update={"source": ""})
