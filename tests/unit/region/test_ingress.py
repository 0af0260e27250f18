# SPDX-License-Identifier: Apache-2.0
"""An ingress is where an API process has a load balancer on another host, and nowhere else."""

from __future__ import annotations

import dataclasses

from scs_deploy.desired.listeners import listening
from scs_deploy.inventory.model import Host, grouped
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.ordering import FIRST, Ordering
from scs_deploy.plan.rolling import Rolling
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from tests.conftest import dummy_region

INGRESS = "haproxy_ingress"


def change(kind: Kind, container: str) -> Change:
    return Change(
        kind=kind, service="haproxy", host="ha-2", subject=container, reason="", phase=Phase.ROLL, impact=Impact.API
    )


def members(region: Region) -> set[str]:
    return {h.name for h in region.hosts_of("haproxy", INGRESS)}


def test_three_control_hosts_reach_each_others_processes_over_tls_only() -> None:
    region = dummy_region("testbed-ha")
    assert members(region) == {"ha-1", "ha-2", "ha-3"}
    open_ports = {
        (o.first, o.clients) for o in listening(region, region.inventory.hosts["ha-1"]) if o.container == INGRESS
    }
    assert {p for p, _ in open_ports} >= {25000, 28774, 29292, 29293, 26080}
    assert {c for _, c in open_ports} <= {("control",), ("control", "manager")}


def test_a_single_host_has_no_ingress_and_none_of_its_certificates() -> None:
    region = dummy_region("testbed")
    assert INGRESS not in region.catalog.services["haproxy"].containers
    wanted = wanted_leaves(region.environment, region.catalog, region.inventory)
    assert not [n for n in wanted if n.startswith(("api_balancer", "api_ingress"))]
    host = next(iter(region.inventory.hosts.values()))
    assert INGRESS not in {o.container for o in listening(region, host)}


def test_processes_on_hosts_of_their_own_get_one() -> None:
    """As a service of a storage group has, beside a single load balancer."""
    region = dummy_region("testbed")
    control = next(iter(region.inventory.hosts.values()))
    other = control.model_copy(update={"name": "storage-1", "groups": ("storage",)})
    hosts: dict[str, Host] = {control.name: control, other.name: other}
    loaded = dummy_region("testbed-ha")
    keystone = loaded.catalog.services["keystone"]
    moved = keystone.model_copy(update={"hosts": ("storage",)})
    catalog = loaded.catalog.model_copy(update={"services": {**loaded.catalog.services, "keystone": moved}})
    made = dataclasses.replace(region, catalog=catalog, inventory=grouped(hosts))
    assert "storage-1" in members(made)


def test_every_ingress_is_there_before_a_load_balancer_uses_it() -> None:
    region = dummy_region("testbed-ha")
    changes = [change(Kind.CREATE, INGRESS), change(Kind.RELOAD, "haproxy")]
    ordering = Ordering.of(region).given(changes)
    assert [ordering.stage(c) for c in changes] == [FIRST, 0]


def test_a_host_is_drained_while_its_ingress_is_replaced() -> None:
    rolling = Rolling.of(dummy_region("testbed-ha"))
    drained = {b.name for b in rolling.drains("ha-2", [change(Kind.REPLACE, INGRESS)])}
    assert drained >= {"identity", "image", "compute", "novnc"}
    assert "database" not in drained
