# SPDX-License-Identifier: Apache-2.0
"""Service levels as a real Prometheus records them from a real load balancer, and as `scs alerts slo` shows them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import alerts as cli
from scs_deploy.desired import metrics, slo
from scs_deploy.engine import remote
from scs_deploy.shared.monitoring import Monitoring
from scs_deploy.shared.service_levels import levels
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.peer_hosts import eventually

PROMETHEUS, HAPROXY = "scs/prometheus:2025.1", "scs/haproxy:2025.1"

BALANCER = """
defaults
  timeout client 5s
  timeout server 5s
  timeout connect 1s
  mode http
frontend metrics
  bind 127.0.0.1:8404
  http-request use-service prometheus-exporter if { path /metrics }
listen compute
  bind 127.0.0.1:8774
  server process 127.0.0.1:8775
listen placement
  bind 127.0.0.1:8778
  server process 127.0.0.1:8775
frontend process
  bind 127.0.0.1:8775
  http-request return status 500 if { path /broken }
  http-request return status 200
"""

SCRAPE = {
    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
    "rule_files": ["/test/rules.yml"],
    "scrape_configs": [
        {
            "job_name": "haproxy",
            "metrics_path": "/metrics",
            "params": {"scope": ["frontend", "backend"]},
            "static_configs": [{"targets": ["127.0.0.1:8404"], "labels": {"host": "ha-1", "service": "haproxy"}}],
        }
    ],
}


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A load balancer, and Prometheus that reads it each second, in a network of their own."""
    rules = metrics.rules(dummy_region("testbed-ha"), (), (("compute", "90"),))
    # each second, so that the test takes seconds
    (tmp_path / "rules.yml").write_text(rules.replace("interval: 1m", "interval: 1s").replace("2m", "1s"))
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(SCRAPE))
    (tmp_path / "haproxy.cfg").write_text(BALANCER)
    tmp_path.chmod(0o755)
    mount = f"--volume={tmp_path}:/test:ro"
    storage = "--tmpfs=/data:mode=1777"
    server = docker(
        "run", "--detach", "--rm", "--network=none", mount, storage, PROMETHEUS, "prometheus",
        "--config.file=/test/prometheus.yml", "--storage.tsdb.path=/data", "--web.listen-address=127.0.0.1:9090",
    )  # fmt: skip
    balancer = ""
    try:
        network = f"--network=container:{server}"
        balancer = docker("run", "--detach", "--rm", network, mount, HAPROXY, "haproxy", "-f", "/test/haproxy.cfg")
        yield server, balancer
    finally:
        docker("rm", "--force", *filter(None, (server, balancer)))


@needs(PROMETHEUS)
@needs(HAPROXY)
def test_the_budget_follows_from_what_the_load_balancer_answered(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, balancer = pair
    region = dummy_region("testbed-ha")

    def run(_host: str, _container: str, argv: tuple[str, ...]) -> tuple[int, str]:
        done = subprocess.run(
            ["docker", "exec", server, *argv], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    monitoring = Monitoring(region, run)
    eventually(lambda: run("", "", ("curl", "-fsS", "http://127.0.0.1:9090/-/ready"))[0] == 0, 30)
    ask = "for i in $(seq 100); do [ $((i % 20)) = 0 ] && p=broken || p=; curl -s -o /dev/null 127.0.0.1:8774/$p; done"
    eventually(lambda: 1 in monitoring.query('count_over_time(up{job="haproxy"}[1m]) > bool 2').values(), 30)
    docker("exec", balancer, "sh", "-c", ask)

    def found() -> dict[str, Any]:
        return {level.endpoint: level for level in levels(region, monitoring)}

    # the first samples are those of a part of the requests
    eventually(lambda: found()["compute"].availability == pytest.approx(95.0, abs=0.5), 60)
    told = found()
    assert (told["compute"].service, told["compute"].objective) == ("nova", 90.0)
    assert told["compute"].budget_left == pytest.approx(0.5, abs=0.05), "5 % of 10 % are spent"
    assert told["compute"].requests_per_second > 0
    assert 0 <= told["compute"].response_seconds < 1
    # nobody asked it
    assert (told["placement"].objective, told["placement"].availability) == (99.9, None)
    assert told["placement"].budget_left is None
    assert "database" not in told, "HAProxy only passes its bytes on"

    monkeypatch.setattr(cli, "load_for_reading", lambda _environment: region)
    monkeypatch.setattr(remote, "runner_in", lambda _region: run)
    shown = CliRunner().invoke(cli.app, ["slo"])
    assert shown.exit_code == 0, shown.output
    assert "no requests" in shown.output
    rows = json.loads(CliRunner().invoke(cli.app, ["slo", "--json"]).output)
    assert {r["endpoint"] for r in rows} == set(told)


def test_without_a_server_it_fails_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load_for_reading", lambda _environment: dummy_region("testbed-ha"))
    monkeypatch.setattr(remote, "runner_in", lambda _region: lambda *_words: (7, "curl: (7) refused"))
    finished = CliRunner().invoke(cli.app, ["slo"])
    assert finished.exit_code == 1
    assert "no prometheus answers" in str(finished.exception)


def changed(levels: Mapping[str, str]) -> dict[str, float]:
    return slo.objectives(dummy_region("testbed-ha"), levels)


def test_service_levels_follow_from_the_endpoints() -> None:
    found = changed({"compute": "99.95", "novnc": "off"})
    assert found["compute"] == 99.95
    assert found["identity"] == 99.9
    assert {"novnc", "database"} & found.keys() == set()


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ({"compue": "99"}, "prometheus_slo: no HTTP endpoint 'compue'"),
        ({"database": "99"}, "prometheus_slo: no HTTP endpoint 'database'"),
        ({"compute": "100"}, "prometheus_slo: compute is '100', no service level"),
        ({"compute": "0.999"}, "prometheus_slo: compute is '0.999', no service level"),
        ({"compute": "10"}, "prometheus_slo: compute is '10', no service level"),
    ],
)
def test_a_wrong_service_level_is_refused(levels: dict[str, str], said: str) -> None:
    with pytest.raises(RefusedError, match=said.replace("(", r"\(")):
        changed(levels)
