# SPDX-License-Identifier: Apache-2.0
"""What is not interrupted while Ceph is full: containers that would not come back well."""

from __future__ import annotations

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations.restart import Restart, RestartRequest
from scs_deploy.operations.storage import look
from scs_deploy.plan import needs_room
from scs_deploy.plan.change import Change, Kind
from scs_deploy.region.region import Region
from scs_deploy.spec import catalog
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from tests.conftest import dummy_region

FULL = "osd.0 and osd.1 are over 95 %"


@pytest.fixture(scope="module")
def region() -> Region:
    return dummy_region("testbed-ha")


def change(kind: Kind, service: str, container: str) -> Change:
    return Change(
        kind=kind, service=service, host="ha-1", subject=container, reason="image a -> b", phase=Phase.ROLL,
        impact=Impact.API,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "service", "container"),
    [
        (Kind.REPLACE, "radosgw", "radosgw"),
        (Kind.RESTART, "radosgw", "radosgw"),
        (Kind.REPLACE, "ceph", "ceph_osd_a"),
    ],
)
def test_a_full_cluster_refuses_to_interrupt(region: Region, kind: Kind, service: str, container: str) -> None:
    changes = [change(kind, service, container)]
    needs_room.refuse(changes, region.catalog, "")
    with pytest.raises(RefusedError) as refused:
        needs_room.refuse(changes, region.catalog, FULL)
    assert f"Ceph is full ({FULL}): {container} on ha-1 would not come back well" in str(refused.value)
    assert "docs/how-to/storage.md#a-full-cluster" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("kind", "service", "container"),
    [
        # new disks are the way out, and what is down cannot become worse
        (Kind.CREATE, "ceph", "ceph_osd_a"),
        (Kind.START, "ceph", "ceph_osd_a"),
        (Kind.RELOAD, "ceph", "ceph_osd_a"),
        # these write nothing to Ceph's pools when they start
        (Kind.REPLACE, "ceph", "ceph_mon"),
        (Kind.REPLACE, "glance", "glance"),
        (Kind.REPLACE, "keystone", "keystone"),
    ],
)
def test_what_a_full_cluster_does_not_stop(region: Region, kind: Kind, service: str, container: str) -> None:
    needs_room.refuse([change(kind, service, container)], region.catalog, FULL)


def test_all_that_is_interrupted_is_known_to_the_catalog() -> None:
    services = catalog.load().services.values()
    assert {n for s in services for n, c in s.containers.items() if c.needs_room} == {"ceph_osd", "radosgw"}


def test_a_restart_by_hand_asks_how_full_ceph_is(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def full(_: Region) -> str:
        asked.append("ceph")
        return FULL

    monkeypatch.setattr("scs_deploy.engine.reachable.unreachable", lambda *_: {})
    monkeypatch.setattr(look, "full", full)
    Restart(region, RestartRequest(kind=Kind.RESTART, services=("keystone",))).plan()
    assert not asked
    with pytest.raises(RefusedError, match="radosgw on ha-1 would not come back well"):
        Restart(region, RestartRequest(kind=Kind.RESTART, services=("radosgw",))).plan()
