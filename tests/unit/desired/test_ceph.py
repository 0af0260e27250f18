# SPDX-License-Identifier: Apache-2.0
"""What a container gets that uses Ceph, and what it does not get where the region has none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import resolve
from scs_deploy.desired.scope import template_scope
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.change import Kind
from scs_deploy.plan.host import pickup
from scs_deploy.region.region import Region
from tests.support.storage_region import region_with

HOST = "testbed-1"
MOUNT = "/etc/scs/sample/ceph:/etc/ceph:ro"


@pytest.fixture
def region(testbed: Region, tmp_path: Path) -> Region:
    return region_with(testbed, tmp_path)


def test_a_client_gets_the_monitors_and_its_own_key(region: Region) -> None:
    host = resolve.resolve(region, HOST)
    address = region.inventory.hosts[HOST].management
    conf = host.files["/etc/scs/sample/ceph/ceph.conf"].content
    assert f"mon_host = [v2:{address}:3300/0]\n" in conf
    assert "fsid = dummy-ceph-fsid\n" in conf
    assert "ms_client_mode = secure\n" in conf
    assert MOUNT in host.containers["sample"].body["HostConfig"]["Binds"]


def test_only_the_containers_user_reads_its_keyring(region: Region) -> None:
    keyring = resolve.resolve(region, HOST).files["/etc/scs/sample/ceph/ceph.client.sample.keyring"]
    assert keyring.content == "[client.sample]\n\tkey = dummy-ceph-sample-key\n"
    assert (keyring.mode, keyring.uid, keyring.gid) == ("0640", 0, region.users["placement"].gid)


def test_a_container_without_the_word_gets_nothing(region: Region) -> None:
    host = resolve.resolve(region, HOST)
    assert not any(p.startswith("/etc/scs/ceph_mon/ceph/") for p in host.files)
    assert not any("/etc/ceph" in b for b in host.containers["ceph_mon"].body["HostConfig"]["Binds"])


def test_a_region_without_disks_has_no_ceph(testbed: Region, tmp_path: Path) -> None:
    region = region_with(testbed, tmp_path, storage=0)
    host = resolve.resolve(region, HOST)
    assert [f for f in host.files if "/ceph/" in f] == []
    assert MOUNT not in host.containers["sample"].body["HostConfig"]["Binds"]
    scope = template_scope(region).of(region.catalog.services["sample"], region.inventory.hosts[HOST])
    assert (scope["ceph"].enabled, scope["ceph"].fsid, scope["ceph"].monitors, scope["ceph"].pools) == (
        False, "", (), {},
    )  # fmt: skip


def test_a_region_without_ceph_needs_none_of_its_secrets(testbed: Region, tmp_path: Path) -> None:
    def empty(_: Environment) -> dict[str, str]:
        return {}

    without = dataclasses.replace(region_with(testbed, tmp_path, storage=0), load_secrets=empty)
    assert without.secrets == {}
    with pytest.raises(RefusedError, match="missing secret: ceph_fsid, ceph_sample_key"):
        _ = dataclasses.replace(region_with(testbed, tmp_path), load_secrets=empty).secrets


def test_templates_know_the_cluster(region: Region) -> None:
    scope = template_scope(region).of(region.catalog.services["sample"], region.inventory.hosts[HOST])
    assert scope["ceph"].enabled
    assert scope["ceph"].monitors == (region.inventory.hosts[HOST].management,)
    assert scope["ceph"].pools["volumes"].application == "rbd"


def test_only_ceph_itself_knows_every_key(region: Region) -> None:
    host = region.inventory.hosts[HOST]
    own = template_scope(region).of(region.catalog.services["ceph"], host)["ceph"]
    assert [(c.name, c.key, c.capabilities["mon"]) for c in own.clients] == [
        ("sample", "dummy-ceph-sample-key", "profile rbd")
    ]
    other = template_scope(region).of(region.catalog.services["sample"], host)["ceph"]
    with pytest.raises(KeyError, match="only service ceph"):
        _ = other.clients


def test_a_new_key_restarts_the_client_and_a_new_monitor_does_not(region: Region) -> None:
    run = resolve.resolve(region, HOST).containers["sample"]
    assert pickup(run, "ceph/ceph.client.sample.keyring") is Kind.RESTART
    assert pickup(run, "ceph/ceph.conf") is None
