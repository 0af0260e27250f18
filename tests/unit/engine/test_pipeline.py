# SPDX-License-Identifier: Apache-2.0
"""What of the region's shared state counts while a server does not answer."""

from __future__ import annotations

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import runner
from scs_deploy.engine.observe import _known
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.jobs import ClusterJob
from scs_deploy.shared.state import SharedState
from scs_deploy.spec import catalog
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

CATALOG = catalog.load()


def change(kind: Kind, service: str, subject: str, host: str = "a") -> Change:
    return Change(
        kind=kind, service=service, host=host, subject=subject, reason="", phase=Phase.ROLL, impact=Impact.NONE
    )


def away() -> SharedState:
    users = [
        change(Kind.ACCOUNT, s, f"keystone user {s}", REGION).model_copy(
            update={"shared": SharedObject(server="keystone", kind=Shared.USER, name=s)}
        )
        for s in ("glance", "nova")
    ]
    return SharedState(changes=users, failed={"keystone": "no answer"})


def host(*created: str, last: str = "") -> HostPlan:
    return HostPlan(
        host="a",
        changes=tuple(change(Kind.CREATE, s, s) for s in created),
        cluster_jobs=(
            ClusterJob(name="glance.db_sync", service="glance", phase=Phase.MIGRATE, hash="wanted", last=last),
        ),
        stateful=("keystone",),
    )


def test_a_new_service_lacks_its_account() -> None:
    found = _known(away(), [host("keystone", "glance")], CATALOG)
    assert [c.service for c in found] == ["glance"]


def test_a_lost_container_of_a_known_service_lacks_nothing_more() -> None:
    assert _known(away(), [host("keystone", "glance", last="wanted")], CATALOG) == []


def test_a_silent_server_that_nothing_explains_is_an_error() -> None:
    with pytest.raises(ScsError, match="keystone: no answer"):
        _known(away(), [host("glance")], CATALOG)


def test_a_server_is_silent_while_what_it_needs_is_started() -> None:
    start = change(Kind.START, "mariadb", "mariadb_check")
    stopped = host().model_copy(update={"changes": (start,)})
    assert _known(away(), [stopped], CATALOG) == []


def test_refusals_are_told_from_failures() -> None:
    result = runner.RunResult("failed")
    for name, refused in (("a", True), ("b", False)):
        data = {"host": name, "res": {"msg": f"no\n{name}", "refused": refused}}
        runner._collect({"event": "runner_on_failed", "event_data": data}, result, keep=False)
    assert runner.summary(result.refused) == "host a: no a"
    assert runner.summary(result.failures, verb="fails") == "host a fails: no a; host b fails: no b"
