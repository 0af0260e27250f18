# SPDX-License-Identifier: Apache-2.0
"""storage.yml: what a region refuses before anything changes, and where the error points."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.storage import number_of_bytes
from scs_deploy.inventory.model import Disk, Host, Inventory
from scs_deploy.region import pools
from scs_deploy.region.pools import PoolWish
from scs_deploy.region.region import Region
from tests.conftest import dummy_region
from tests.support.storage_region import region_with


def placed(region: Region, folder: Path, text: str, disks: int = 2, racks: tuple[str | None, ...] = ()) -> Region:
    """The region with a storage.yml, and hosts with disks."""
    environment = region.environment.model_copy(update={"path": folder / "environment"})
    shutil.rmtree(environment.path, ignore_errors=True)
    environment.path.mkdir(parents=True)
    (environment.path / "storage.yml").write_text(text, encoding="utf-8")
    hosts: dict[str, Host] = {}
    for i, (name, host) in enumerate(region.inventory.hosts.items()):
        found = tuple(Disk(device=f"/dev/disk{n}", device_class="hdd") for n in range(disks))
        hosts[name] = host.model_copy(update={"disks": found, "rack": racks[i] if racks else None})
    inventory = Inventory(hosts=hosts, groups=region.inventory.groups)
    return dataclasses.replace(region, environment=environment, inventory=inventory)


def declared(region: Region) -> dict[str, PoolWish]:
    return pools.declared(region, region.storage, region.environment.path)


@pytest.fixture
def single(testbed: Region, tmp_path: Path) -> Region:
    return region_with(testbed, tmp_path)


@pytest.fixture
def three(tmp_path: Path) -> Region:
    return region_with(dummy_region("testbed-ha"), tmp_path)


def test_three_hosts_need_no_settings(three: Region, tmp_path: Path) -> None:
    pool = declared(placed(three, tmp_path, ""))["volumes"]
    assert (pool.size, pool.min_size, pool.rule.name, pool.service) == (3, 2, "scs-replicated-host", "sample")


def test_one_host_is_too_few_for_three_copies(single: Region, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as error:
        declared(placed(single, tmp_path, ""))
    assert "keeps 3 copies, each on another host, but group storage has 1 host" in error.value.message
    assert "failure_domain: osd" in error.value.hint


def test_one_host_by_explicit_setting(single: Region, tmp_path: Path) -> None:
    assert declared(placed(single, tmp_path, "failure_domain: osd\n", disks=3))["volumes"].rule.domain == "osd"
    with pytest.raises(RefusedError, match="each on another osd, but group storage has 2 osds"):
        declared(placed(single, tmp_path, "failure_domain: osd\n", disks=2))


def test_fewer_hosts_than_copies(three: Region, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"storage.yml:2: pools.volumes: pool volumes keeps 4 copies"):
        declared(placed(three, tmp_path, "pools:\n  volumes: {size: 4}\n"))


def test_a_class_that_no_disk_has(three: Region, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="has 0 hosts with disks of class nvme"):
        declared(placed(three, tmp_path, "device_class: nvme\n"))


def test_racks(three: Region, tmp_path: Path) -> None:
    text = "failure_domain: rack\n"
    with pytest.raises(RefusedError, match="host ha-2 has no rack"):
        declared(placed(three, tmp_path, text, racks=("a", None, "c")))
    with pytest.raises(RefusedError, match="each on another rack, but group storage has 2 racks"):
        declared(placed(three, tmp_path, text, racks=("a", "a", "c")))
    assert declared(placed(three, tmp_path, text, racks=("a", "b", "c")))["volumes"].rule.domain == "rack"


def test_a_pool_of_no_service(three: Region, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as error:
        declared(placed(three, tmp_path, "pools:\n  backups: {size: 3}\n"))
    assert "storage.yml:2: pools.backups: no service of the region declares this pool" in error.value.message
    assert "there are: volumes" in error.value.hint


def test_a_pool_with_keys_and_values_is_not_erasure_coded(three: Region, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"storage.yml:2: pools.volumes.erasure: the pool holds keys and values"):
        declared(placed(three, tmp_path, "pools:\n  volumes: {erasure: {k: 2, m: 1}}\n"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("size: 1\n", "storage.yml:1: size: Input should be greater than or equal to 2"),
        ("pools:\n  volumes: {size: 3, min_size: 4}\n", "min_size: 4 of 3 can never be there"),
        ("pools:\n  volumes: {size: 3, erasure: {k: 2, m: 1}}\n", "has k . m parts; leave out size"),
        ("pools:\n  volumes: {placement_groups: 32}\n", "set autoscale: off"),
        ("pools:\n  volumes: {quota: {bytes: 10 apples}}\n", "expected a size such as 500G or 2TiB"),
        ("ratios: {nearfull: 0.95}\n", "expected nearfull < backfillfull < full"),
        ("failure_domain: row\n", "storage.yml:1: failure_domain"),
        ("pool:\n  volumes: {}\n", "storage.yml:1: pool: unknown key"),
    ],
)
def test_what_cannot_be(three: Region, tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        declared(placed(three, tmp_path, text))


def test_a_region_without_ceph_ignores_the_file(testbed: Region, tmp_path: Path) -> None:
    region = placed(region_with(testbed, tmp_path, storage=0), tmp_path, "failure_domain: osd\n")
    assert declared(region) == {}


def test_sizes() -> None:
    assert number_of_bytes("500G") == 500 * 10**9
    assert number_of_bytes("2TiB") == 2 * 1024**4
    assert number_of_bytes("4096") == 4096
    with pytest.raises(ValueError, match="expected a size"):
        number_of_bytes("4i")
