# SPDX-License-Identifier: Apache-2.0
"""A region from the time of the plain memcached: services leave it one after another, then it goes."""

from __future__ import annotations

from scs_deploy.desired import resolve
from scs_deploy.observed.model import Observed, ObservedContainer
from scs_deploy.plan.change import Kind
from scs_deploy.plan.host import plan_host
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.region import Plan, assemble
from tests.conftest import dummy_region

OLD = ObservedContainer(managed=True, image_id="sha256:1", status="running", Labels={"scs.service": "memcached"})


def planned(services: frozenset[str] = frozenset(), hosts: frozenset[str] | None = None) -> Plan:
    region = dummy_region("testbed-ha")
    seen = Observed(files={}, containers={"memcached": OLD, "unknown": OLD}, images={}, free=10**12)
    plans = [plan_host(resolve.resolve(region, h), seen, (), region.lock) for h in region.inventory.hosts]
    chosen = services or frozenset(region.catalog.services)
    return assemble(plans, [], region.catalog.waves, chosen, hosts, frozenset(), Ordering.of(region))


def test_it_is_removed_after_everything_else() -> None:
    changes = [(c.kind, c.subject) for c in planned().changes]
    removed = changes.index((Kind.REMOVE, "memcached"))
    assert changes.index((Kind.CREATE, "memcached_tls")) < changes.index((Kind.CREATE, "keystone"))
    assert max(i for i, (kind, _) in enumerate(changes) if kind is Kind.CREATE) < removed
    assert changes.index((Kind.REMOVE, "unknown")) < changes.index((Kind.CREATE, "keystone"))


def test_it_stays_while_some_services_or_hosts_are_left_out() -> None:
    for plan in (planned(services=frozenset({"memcached"})), planned(hosts=frozenset({"ha-1"}))):
        assert (Kind.REMOVE, "memcached") not in [(c.kind, c.subject) for c in plan.changes]
        assert (Kind.CREATE, "memcached_tls") in [(c.kind, c.subject) for c in plan.changes]
