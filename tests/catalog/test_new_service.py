# SPDX-License-Identifier: Apache-2.0
"""A new API service is a directory of two files and an image: everything else learns of it from there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from scs_deploy.base import ini, paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import metrics as metrics_of_region
from scs_deploy.desired import resolve
from scs_deploy.desired.listeners import listening
from scs_deploy.desired.model import DesiredHost
from scs_deploy.region.region import Region
from scs_deploy.shared import state
from scs_deploy.spec import catalog, metrics
from scs_deploy.spec.release import ImageSpec
from scs_deploy.spec.service import LAYERS
from tests.conftest import with_dummies

SPEC = """\
description: Reservations
hosts: control
requires: [keystone]
databases: [sample]
account: true
messaging: true
endpoints:
  reservation: {port: 1234, path: /v1, public: true, health_path: /healthcheck}
containers:
  sample:
    wsgi: sample-api
    user: placement
    config: [sample.conf]
jobs:
  db_sync: {container: sample, command: sample-manage db sync, schema_change: expand}
  upgrade_check: {container: sample, preflight: status}
"""

CONFIGURATION = """\
{% import 'oslo.j2' as oslo with context %}
[DEFAULT]
transport_url = {{ transport_url() }}

{{ oslo.database() }}
{{ oslo.messaging() }}
{{ oslo.api('sample') -}}
"""


def region_with(region: Region, folder: Path, spec: str = SPEC) -> Region:
    """The region and one more service in layer openstack, whose image the release has."""
    directory = folder / "services" / "sample"
    directory.mkdir(parents=True)
    (directory / "service.yml").write_text(spec)
    (directory / "sample.conf.j2").write_text(CONFIGURATION)
    shipped = tuple((layer, paths.layer(layer) / "services") for layer in LAYERS)
    release = region.release.model_copy(update={"images": {**region.release.images, "sample": ImageSpec()}})
    found = catalog.load_from((*shipped, ("openstack", folder / "services")))
    return with_dummies(dataclasses.replace(region, catalog=found, release=release))


@pytest.fixture
def region(testbed: Region, tmp_path: Path) -> Region:
    return region_with(testbed, tmp_path)


@pytest.fixture
def host(region: Region) -> DesiredHost:
    return resolve.resolve(region, "testbed-1")


def test_its_container_is_complete(region: Region, host: DesiredHost) -> None:
    run = host.containers["sample"]
    assert run.image.startswith(f"{region.environment.settings.registry.host}/scs/sample@sha256:")
    assert run.body["Cmd"] == ["uwsgi_python3", "--ini", "/etc/sample/uwsgi.ini"]
    assert run.body["User"] == "placement"
    assert run.body["Env"] == ["DUMB_INIT_SETSID=0"]
    assert run.body["StopTimeout"] == 60
    assert run.body["HostConfig"]["CapDrop"] == ["ALL"]
    assert run.body["HostConfig"]["CapAdd"] == []
    assert run.body["HostConfig"]["Privileged"] is False
    assert run.body["HostConfig"]["Binds"] == [
        "/etc/scs/sample/ca.crt:/etc/scs/ca.crt:ro",
        "/etc/scs/sample/sample.conf:/etc/sample/sample.conf:ro",
        "/etc/scs/sample/uwsgi.ini:/etc/sample/uwsgi.ini:ro",
    ]
    assert run.body["Healthcheck"]["Test"][-1] == "http://127.0.0.1:1234/healthcheck"
    assert run.ports == (1234,)
    assert run.impact == "api"


def test_its_files_are_rendered(region: Region, host: DesiredHost) -> None:
    uwsgi = ini.parse(host.files["/etc/scs/sample/uwsgi.ini"].content)["uwsgi"]
    assert uwsgi["wsgi-file"] == ("/usr/bin/sample-api",)
    assert uwsgi["http-socket"] == ("127.0.0.1:1234",)
    assert uwsgi["processes"] == ("2",), "sample_workers, which no spec declares"
    conf = host.files["/etc/scs/sample/sample.conf"]
    assert "dummy-sample-database-password" in conf.content
    assert "dummy-sample-rabbitmq-password" in conf.content
    assert "dummy-sample-keystone-password" in conf.content
    assert (conf.mode, conf.gid) == ("0640", region.users["placement"].gid)


def test_its_jobs_are_complete(host: DesiredHost) -> None:
    assert host.jobs["sample.db_sync"].body["Cmd"] == ["sample-manage", "db", "sync"]
    assert "$(sample-status upgrade check)" in host.jobs["sample.upgrade_check"].body["Cmd"][-1]


def test_haproxy_serves_it(region: Region, host: DesiredHost) -> None:
    haproxy = host.files["/etc/scs/haproxy/haproxy.cfg"].content
    section = haproxy.partition("listen reservation\n")[2].partition("\nlisten ")[0]
    api = region.environment.settings.api
    for address in (api.internal.address, api.external.address):
        assert f"bind {address}:1234 ssl" in section
    assert "option httpchk GET /healthcheck" in section
    assert "server testbed-1 127.0.0.1:1234 " in section


def test_it_has_its_secrets_database_broker_and_accounts(region: Region) -> None:
    added = {"sample_database_password", "sample_keystone_password", "sample_rabbitmq_password"}
    assert added <= set(region.catalog.secrets())
    assert state._databases(region).users["sample"].schemas == ("sample",)
    assert "sample" in state._brokers(region).users
    identity = state._identity(region)
    assert "sample" in identity.accounts
    assert set(identity.entries["reservation"].endpoints) == {"internal", "public"}
    assert identity.entries["reservation"].endpoints["internal"].endswith(":1234/v1")


def test_others_do_not_change_but_for_haproxy_and_the_service_level_of_its_endpoint(
    testbed: Region, host: DesiredHost
) -> None:
    before = resolve.resolve(testbed, "testbed-1")
    assert {n: r.body["Cmd"] for n, r in before.containers.items()}.items() <= {
        n: r.body["Cmd"] for n, r in host.containers.items()
    }.items()
    changed = [p for p, f in before.files.items() if host.files[p].sha256 != f.sha256]
    assert changed == ["/etc/scs/haproxy/haproxy.cfg", "/etc/scs/prometheus/rules.yml"]
    file = "/etc/scs/prometheus/rules.yml"
    levels = [yaml.safe_load(d.files[file].content)["groups"][0]["rules"] for d in (before, host)]
    assert [r["labels"] for r in levels[1] if r not in levels[0]] == [{"proxy": "reservation"}]


ALERTS = """\
alerts:
  - alert: SampleQueueLong
    expr: sample_queue_length > 1000
    for: 10m
    severity: warning
    summary: "{{ $labels.host }} has {{ $value }} entries in its queue"
    impact: users wait
"""


@pytest.fixture
def watched(testbed: Region, tmp_path: Path) -> Region:
    """The region with the service, which has metrics and an alert."""
    measured = SPEC.replace("    user: placement\n", "    user: placement\n    metrics: {port: 1235}\n")
    found = region_with(testbed, tmp_path, measured)
    (tmp_path / "services" / "sample" / "alerts.yml").write_text(ALERTS)
    return found


def test_monitoring_reads_its_metrics_and_watches_it(watched: Region) -> None:
    host = resolve.resolve(watched, "testbed-1")
    prometheus = yaml.safe_load(host.files["/etc/scs/prometheus/prometheus.yml"].content)
    (job,) = [j for j in prometheus["scrape_configs"] if j["job_name"] == "sample"]
    address = watched.inventory.hosts["testbed-1"].management
    assert (job["scheme"], job["metrics_path"]) == ("https", "/sample")
    assert job["static_configs"] == [
        {
            "targets": [f"{address}:9101"],
            "labels": {"instance": "testbed-1", "host": "testbed-1", "service": "sample", "layer": "openstack"},
        }
    ]
    ingress = host.files["/etc/scs/metrics_ingress/metrics.cfg"].content
    assert "  use_backend sample if METH_GET { path /sample }\n" in ingress
    assert "backend sample\n  http-request set-uri /metrics\n  server process 127.0.0.1:1235\n" in ingress
    groups = yaml.safe_load(host.files["/etc/scs/prometheus/rules.yml"].content)["groups"]
    (own,) = [g for g in groups if g["name"] == "sample"]
    assert [(r["alert"], r["for"], r["labels"]["service"]) for r in own["rules"]] == [
        ("SampleQueueLong", "10m", "sample")
    ]
    assert own["rules"][0]["annotations"]["summary"] == "{{ $labels.host }} has {{ $value }} entries in its queue"
    listens = [(x.port, x.network) for x in listening(watched, watched.inventory.hosts["testbed-1"])]
    assert ("1235", "loopback") in listens


def test_an_operator_leaves_an_alert_out(watched: Region) -> None:
    left = metrics_of_region.rules(watched, ("SampleQueueLong", "HostDown"))
    assert "alert: TargetDown" in left
    assert "SampleQueueLong" not in left
    assert "HostDown" not in left
    with pytest.raises(RefusedError, match="prometheus_alerts_off: no alert 'HostsDown'"):
        metrics_of_region.rules(watched, ("HostsDown",))
    with pytest.raises(RefusedError, match="nobody knows whether alerts arrive"):
        metrics_of_region.rules(watched, ("Watchdog",))


def test_an_alert_that_another_service_has_is_refused(watched: Region) -> None:
    file = watched.catalog.services["sample"].directory / "alerts.yml"
    file.write_text(ALERTS.replace("SampleQueueLong", "HostDown"))
    metrics.load.cache_clear()
    with pytest.raises(RefusedError, match=f"^{re.escape(str(file))}: service prometheus has an alert HostDown, too"):
        metrics_of_region.rules(watched, ("TargetDown",))


def test_monitoring_of_others_does_not_change(testbed: Region, watched: Region) -> None:
    before, after = resolve.resolve(testbed, "testbed-1"), resolve.resolve(watched, "testbed-1")
    changed = {p for p, f in before.files.items() if after.files[p].sha256 != f.sha256}
    monitoring = {"prometheus/prometheus.yml", "prometheus/rules.yml", "metrics_ingress/metrics.cfg"}
    assert changed == {f"/etc/scs/{p}" for p in ("haproxy/haproxy.cfg", *monitoring)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ALERTS.replace("severity: warning", "severity: bad"), "alerts.0.severity"),
        (ALERTS.replace("    expr: sample_queue_length > 1000\n", ""), "alerts.0.expr"),
        (ALERTS.replace("for: 10m", "for: soon"), "alerts.0.for"),
        (ALERTS.replace("for: 10m", "hold: 10m"), "alerts.0"),
        (ALERTS.replace("expr: sample_queue_length > 1000", "expr: ''"), "alerts.0.expr"),
    ],
)
def test_an_alert_that_is_wrong_is_refused_with_its_place(watched: Region, text: str, message: str) -> None:
    file = watched.catalog.services["sample"].directory / "alerts.yml"
    file.write_text(text)
    with pytest.raises(RefusedError, match=f"^{re.escape(str(file))}:[0-9]+: {re.escape(message)}"):
        metrics.alerts(watched.catalog.services["sample"].directory)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "wsgi: sample-api",
            "wsgi: sample-api\n    metrics: {port: 9100}",
            "port 9100 belongs to metrics of node_exporter",
        ),
        ("wsgi: sample-api", "image: sample", "containers.sample: give command or wsgi"),
        (
            "port: 1234,",
            "port: 1234, container: other,",
            "endpoints.reservation.container: no container 'other' in this service",
        ),
        ("jobs:", "  other: {wsgi: other-api}\njobs:", "containers.other.wsgi: no endpoint of the service leads to"),
        ("preflight: status", "preflight: status, command: run", "exactly one of command, restart, preflight: status"),
        ("preflight: status", "preflight: true", "exactly one of command, restart, preflight: status"),
    ],
)
def test_a_half_description_is_refused(testbed: Region, tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        region_with(testbed, tmp_path, SPEC.replace(old, new))


def test_what_a_spec_says_itself_counts(testbed: Region, tmp_path: Path) -> None:
    spec = SPEC.replace(
        "    user: placement\n",
        "    user: placement\n    command: /etc/sample/start.sh\n    stop_timeout: 5\n    health: {tcp: 1234}\n"
        "    environment: {DUMB_INIT_SETSID: '1', OTHER: x}\n    cap_drop: [NET_RAW]\n",
    ).replace("endpoints:\n", "settings: {sample_workers: 7}\nendpoints:\n")
    found = resolve.resolve(region_with(testbed, tmp_path, spec), "testbed-1")
    run = found.containers["sample"]
    assert run.body["Cmd"] == ["/etc/sample/start.sh"]
    assert run.body["StopTimeout"] == 5
    assert run.body["Env"] == ["DUMB_INIT_SETSID=1", "OTHER=x"]
    assert run.body["HostConfig"]["CapDrop"] == ["NET_RAW"]
    assert run.health and run.health.command and run.health.command[0] == "nc"
    assert "\nprocesses = 7\n" in found.files["/etc/scs/sample/uwsgi.ini"].content


def test_without_a_path_to_ask_for_its_port_is_checked(testbed: Region, tmp_path: Path) -> None:
    region = region_with(testbed, tmp_path, SPEC.replace(", health_path: /healthcheck", ""))
    run = resolve.resolve(region, "testbed-1").containers["sample"]
    assert run.health and run.health.command
    assert run.health.command[0] == "nc"
    assert run.health.command[-1] == "1234"
