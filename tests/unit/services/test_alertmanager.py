# SPDX-License-Identifier: Apache-2.0
"""Alerts and silences in a real Alertmanager: what operators see, and what a run silences."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired import resolve
from scs_deploy.operations import alert_watch
from scs_deploy.operations.alert_watch import AlertWatch
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Wanted
from scs_deploy.shared.monitoring import Monitoring, check_names
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.peer_hosts import eventually

IMAGE = "scs/alertmanager:2025.1"
pytestmark = needs(IMAGE)


class Server:
    """Alertmanager as the testbed's host runs it, without a network."""

    def __init__(self, folder: Path) -> None:
        self.region = dummy_region("testbed")
        desired = resolve.resolve(self.region, "testbed-1", {"alertmanager"})
        for file in desired.files.values():
            if "/" not in file.name:
                (folder / file.name).write_text(file.content)
        folder.chmod(0o755)
        self.name = f"scs-test-alertmanager-{uuid.uuid4().hex[:8]}"
        command = desired.containers["alertmanager"].body["Cmd"]
        subprocess.run(
            ["docker", "run", "--detach", "--name", self.name, "--network", "none", "--tmpfs",
             "/var/lib/alertmanager:mode=1777", "--volume", f"{folder}:/etc/alertmanager:ro", IMAGE, *command],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        self.monitoring = Monitoring(self.region, self.run)

    def run(self, _host: str, container: str, argv: tuple[str, ...]) -> tuple[int, str]:
        assert container == "alertmanager"
        done = subprocess.run(
            ["docker", "exec", self.name, *argv], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def send(self, name: str, severity: str = "critical", **labels: str) -> None:
        """An alert as Prometheus sends it."""
        alert: dict[str, Any] = {
            "labels": {"alertname": name, "severity": severity, **labels},
            "annotations": {"summary": f"{name} is there", "impact": "users wait", "runbook": "docs/runbooks/a.md#a"},
            "endsAt": (datetime.now(UTC) + timedelta(minutes=10)).isoformat(),
        }
        code, said = self.run(
            "", "alertmanager",
            ("curl", "-fsS", "--header", "Content-Type: application/json", "--data", json.dumps([alert]),
             "http://127.0.0.1:9093/api/v2/alerts"),
        )  # fmt: skip
        assert code == 0, said

    def answers(self) -> bool:
        try:
            self.monitoring.alerts()
        except ScsError:
            return False
        return True

    def named(self) -> list[str]:
        """Names of the alerts that call for somebody."""
        return [a.name for a in self.monitoring.alerts() if a.counts]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    try:
        eventually(made.answers)
        yield made
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", made.name], check=True, capture_output=True, timeout=60)


NETWORK = "172.30.250"
"""Of two servers; its last numbers are those of the testbed."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[dict[str, Monitoring]]:
    """host: the Alertmanager of a host of the testbed with three nodes, each in a network namespace of its own."""
    region = dummy_region("testbed-ha")
    ca = issuing.new_ca("test")
    network = f"scs-test-{uuid.uuid4().hex[:8]}"
    names: dict[str, str] = {}
    docker("network", "create", "--internal", "--subnet", f"{NETWORK}.0/24", network)
    try:
        for host in ("ha-1", "ha-2"):
            folder = tmp_path / host
            (folder / "tls").mkdir(parents=True)
            folder.chmod(0o755)
            desired = resolve.resolve(region, host, {"alertmanager"})
            address = region.inventory.hosts[host].management
            own = f"{NETWORK}.{address.rpartition('.')[2]}"
            for file in desired.files.values():
                if "/" not in file.name:
                    (folder / file.name).write_text(file.content)
            leaf = issuing.issue(ca, Wanted(names=(host, own), client=True))
            for name, text in (("ca.crt", ca.cert), ("host.crt", leaf.cert), ("host.key", leaf.key)):
                (folder / "tls" / name).write_text(text)
                (folder / "tls" / name).chmod(0o644)
            names[host] = f"{network}-{host}"
            command = [w.replace("172.30.2.", f"{NETWORK}.") for w in desired.containers["alertmanager"].body["Cmd"]]
            docker(
                "run", "--detach", "--name", names[host], "--network", network, "--ip", own,
                "--tmpfs", "/var/lib/alertmanager:mode=1777", "--volume", f"{folder}:/etc/alertmanager:ro",
                "--volume", f"{folder}/tls:/etc/scs/tls:ro", IMAGE, *command,
            )  # fmt: skip

        def at(host: str) -> Monitoring:
            def run(_host: str, _container: str, argv: tuple[str, ...]) -> tuple[int, str]:
                command = ["docker", "exec", names[host], *argv]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                return done.returncode, done.stdout + done.stderr

            return Monitoring(region, run)

        yield {host: at(host) for host in names}
    finally:
        for name in names.values():
            subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, timeout=60, check=False)
        docker("network", "rm", network)


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True, timeout=60)


def reached(monitoring: Monitoring) -> bool:
    try:
        monitoring.silences()
    except ScsError:
        return False
    return True


def test_members_share_silences_over_mutual_tls(two: dict[str, Monitoring]) -> None:
    eventually(lambda: all(map(reached, two.values())))
    two["ha-1"].silence({"host": "ha-3"}, datetime.now(UTC), in_minutes(5), "me", "x")
    eventually(lambda: [s.matchers for s in two["ha-2"].silences()] == [{"host": "ha-3"}], 30)


def in_minutes(minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def test_what_calls_for_somebody_is_told_the_worst_first(server: Server) -> None:
    server.send("Watchdog", "warning")
    server.send("CertificateEnding", "warning", host="testbed-1", service="node_exporter")
    server.send("DatabaseDown", "critical", service="mariadb")
    assert server.named() == ["DatabaseDown", "CertificateEnding"]
    first = next(a for a in server.monitoring.alerts() if a.name == "DatabaseDown")
    assert (first.service, first.host, first.summary) == ("mariadb", "", "DatabaseDown is there")


def test_a_lost_host_explains_its_other_alerts(server: Server) -> None:
    server.send("HostDown", host="testbed-1")
    server.send("ContainerDown", host="testbed-1")
    server.send("ContainerDown", host="other")
    eventually(lambda: [(a.name, a.host) for a in server.monitoring.alerts() if a.counts]
               == [("ContainerDown", "other"), ("HostDown", "testbed-1")])  # fmt: skip


def test_a_silence_is_for_what_it_names_and_can_end(server: Server) -> None:
    server.send("ContainerDown", host="testbed-1", service="node_exporter")
    server.send("ContainerDown", host="other", service="node_exporter")
    monitoring = server.monitoring
    made = monitoring.silence({"host": "testbed-1"}, datetime.now(UTC), in_minutes(5), "me", "new memory")
    eventually(lambda: [a.host for a in monitoring.alerts() if a.counts] == ["other"])
    (found,) = monitoring.silences()
    assert (found.id, found.matchers, found.by, found.comment) == (made, {"host": "testbed-1"}, "me", "new memory")
    monitoring.end_silence(made)
    eventually(lambda: len(server.named()) == 2)
    assert monitoring.silences() == ()


def change(host: str, service: str) -> Change:
    return Change(
        kind=Kind.REPLACE, service=service, host=host, subject=service, reason="image", phase=Phase.ROLL,
        impact=Impact.API,
    )  # fmt: skip


def test_a_run_silences_what_it_causes_and_only_that(server: Server) -> None:
    plan = Plan(
        changes=(change("testbed-1", "keystone"), change("testbed-1", "prometheus"), change("region", "glance"))
    )
    silences = alert_watch.expected(server.region, plan)
    server.send("DiskFilling", host="testbed-1", service="node_exporter")
    watch = AlertWatch(server.monitoring, silences, "run r1")
    # as the rules label them
    server.send("TargetDown", host="testbed-1", service="prometheus", container_service="keystone")
    server.send("ContainerDown", host="testbed-1", service="node_exporter", container_service="keystone")
    server.send("HAProxyNoServer", host="testbed-1", proxy="identity", service="haproxy")
    server.send("TargetDown", host="testbed-1", service="prometheus", container_service="mariadb")
    server.send("HAProxyNoServer", host="testbed-1", proxy="image", service="haproxy")
    server.send("Slow", "warning", host="testbed-1", service="mariadb")
    # whatever changes
    server.send("HostDown", host="testbed-2", service="prometheus")
    found = lambda: [a.labels.get("proxy") or a.labels.get("container_service") or a.name for a in watch.unexpected()]  # noqa: E731
    eventually(lambda: found() == ["image", "HostDown", "mariadb"])
    said = alert_watch.explain(watch.unexpected(), 1)
    assert said.startswith("3 unexpected critical alerts, 1 allowed (HAProxyNoServer: HAProxyNoServer is there; ")
    watch.end()
    ends = {s.until for s in server.monitoring.silences()}
    assert len(server.monitoring.silences()) == len(silences) == 3, "those of the run, and no other"
    assert all(end <= in_minutes(5) for end in ends)


def test_services_are_silent_where_they_change_and_not_elsewhere() -> None:
    region = dummy_region("testbed-ha")
    changes = (change("ha-1", "keystone"), change("ha-1", "nova"), change("ha-2", "nova"), change("ha-2", "prometheus"))
    assert alert_watch.expected(region, Plan(changes=changes)) == [
        {"host": "ha-1", "container_service": "keystone"},
        {"host": "ha-1", "service": "keystone"},
        {"host": "~ha-1|ha-2", "container_service": "nova"},
        {"host": "~ha-1|ha-2", "service": "nova"},
        {"host": "ha-2", "container_service": "prometheus"},
        {"proxy": "~compute|identity|metadata|novnc"},
    ]


def next_second() -> None:
    now = int(time.time())
    eventually(lambda: int(time.time()) > now)


def test_silences_of_a_long_run_end_with_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alertmanager gives each one a new id that is prolonged in a later second than it was made."""
    watch = AlertWatch(server.monitoring, [{"host": "testbed-1"}], "run r1")
    for _ in range(2):
        next_second()
        monkeypatch.setattr(watch, "_until", in_minutes(20))
        assert watch.unexpected() == []
        (kept,) = server.monitoring.silences()
        assert kept.until > in_minutes(50)
    watch.end()
    assert [s.until <= in_minutes(5) for s in server.monitoring.silences()] == [True]


def test_a_drained_host_is_silent_until_it_is_back(server: Server) -> None:
    server.send("HostDown", host="testbed-1")
    host, comment = [{"host": "testbed-1"}], "testbed-1 in maintenance"
    drain = AlertWatch(server.monitoring, host, comment)
    drain.end(alert_watch.DRAINED)
    eventually(lambda: server.named() == [])
    (kept,) = server.monitoring.silences()
    assert kept.until > in_minutes(60 * 23)
    back = AlertWatch(server.monitoring, host, comment)
    back.end()
    assert [s.until < in_minutes(6) for s in server.monitoring.silences()] == [True]


def test_a_name_that_no_alert_has_is_refused_with_those_that_look_like_it(testbed: Region) -> None:
    check_names(testbed, {"alertname": "HostDown", "host": "testbed-1", "service": "mariadb"})
    with pytest.raises(RefusedError, match="no alert 'HostsDown'") as error:
        check_names(testbed, {"alertname": "HostsDown"})
    assert "HostDown" in error.value.hint


def test_servers_that_do_not_answer_are_named(testbed: Region) -> None:
    gone = Monitoring(testbed, lambda *_: (-1, "the container is not running"))
    with pytest.raises(ScsError, match="no alertmanager answers: testbed-1: the container is not running"):
        gone.alerts()
