# SPDX-License-Identifier: Apache-2.0
"""The check of monitoring asks the servers of each host: a second one that sees nothing is missed when it counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from scs_deploy.desired import metrics
from scs_deploy.shared.monitoring import WATCHDOG, Monitoring
from scs_deploy.validate.checks.monitoring import late, problems_of
from tests.conftest import dummy_region

REGION = dummy_region("testbed-ha")
WANTED = {(t.container, t.host) for own in metrics.by_container(REGION).values() for t in own}
ALERT = {
    "labels": {"alertname": WATCHDOG}, "annotations": {}, "startsAt": "2026-12-01T00:00:00Z",
    "status": {"silencedBy": [], "inhibitedBy": []},
}  # fmt: skip


def targets(*down: tuple[str, str]) -> list[dict[str, Any]]:
    found = []
    for job, host in sorted(WANTED):
        labels = {"job": job, "host": host} | ({"active_only": "yes"} if job == "ceph_mgr" else {})
        broken = (job, host) in down
        found.append({"labels": labels, "health": "down" if broken else "up", "lastError": "EOF" if broken else ""})
    return found


def servers(alerts: dict[str, list[Any]], reads: dict[str, list[Any]]) -> Monitoring:
    """By host: what its Alertmanager has, and what its Prometheus reads."""

    def run(host: str, container: str, _argv: tuple[str, ...]) -> tuple[int, str]:
        if container == "alertmanager":
            return (0, json.dumps(alerts[host])) if host in alerts else (-1, "it does not run")
        return 0, json.dumps({"data": {"activeTargets": reads[host]}})

    return Monitoring(REGION, run)


def problems(found: Monitoring) -> dict[str, list[str]]:
    return {host: problems_of(own, WANTED) for host, own in found.each().items()}


def test_each_server_sees_all() -> None:
    both = {h: [ALERT] for h in ("ha-1", "ha-2")}
    # of Ceph's managers, one shows metrics
    standby = targets(("ceph_mgr", "ha-1"), ("ceph_mgr", "ha-3"))
    assert problems(servers(both, {"ha-1": standby, "ha-2": standby})) == {"ha-1": [], "ha-2": []}


def test_the_second_servers_trouble_is_not_hidden_by_the_first() -> None:
    reads = {"ha-1": targets(), "ha-2": [t for t in targets(("rabbitmq", "ha-3")) if t["labels"]["job"] != "haproxy"]}
    found = problems(servers({"ha-1": [ALERT], "ha-2": []}, reads))
    assert found["ha-1"] == []
    assert found["ha-2"] == [
        "Prometheus does not read haproxy on ha-1", "Prometheus does not read haproxy on ha-2",
        "Prometheus does not read haproxy on ha-3", "rabbitmq on ha-3: EOF", "no alert arrives at Alertmanager",
    ]  # fmt: skip
    (said,) = problems(servers({"ha-1": [ALERT]}, {h: targets() for h in ("ha-1", "ha-2")}))["ha-2"]
    assert said.startswith("no alertmanager answers: ha-2: it does not run")


def test_a_job_of_which_nobody_shows_metrics_is_told() -> None:
    down = targets(*(("ceph_mgr", h) for h in ("ha-1", "ha-2", "ha-3")))
    found = problems(servers({h: [ALERT] for h in ("ha-1", "ha-2")}, dict.fromkeys(("ha-1", "ha-2"), down)))
    assert found["ha-1"] == [f"ceph_mgr on {h}: EOF" for h in ("ha-1", "ha-2", "ha-3")]


def test_a_host_of_which_a_store_has_nothing_new_is_named() -> None:
    since = datetime(2026, 12, 1, 7, tzinfo=UTC)
    fresh, old = "2026-12-01T07:00:01.5Z", "2026-12-01T06:59:59Z"
    assert late({"ha-1": {"a": fresh, "b": fresh}}, {"a", "b"}, since) == []
    assert late({"ha-1": {"a": fresh, "b": old}, "ha-2": {"a": fresh}}, {"a", "b"}, since) == [
        f"the log store on ha-1 has no lines of b since {old}", "the log store on ha-2 has no lines of b",
    ]  # fmt: skip
