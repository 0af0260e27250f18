# SPDX-License-Identifier: Apache-2.0
"""Prometheus and Alertmanager accept what scs renders for them, with every setting that an operator can make."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.desired import resolve
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Wanted
from tests.conftest import dummy_region, with_dummies
from tests.support.images import needs

PROMETHEUS, ALERTMANAGER = "scs/prometheus:2025.1", "scs/alertmanager:2025.1"

EVERYTHING: dict[str, Any] = {
    "prometheus_remote_write": "https://metrics.example.org/api/v1/push",
    "alertmanager_mail_to": ["ops@example.org", "night@example.org"],
    "alertmanager_mail_from": "alerts@example.org",
    "alertmanager_smarthost": "mail.example.org:587",
    "alertmanager_webhooks": ["https://bridge.example.org/a?room=!x:example.org", "http://192.0.2.1:9000/"],
    "alertmanager_watchdog_webhook": "https://deadman.example.net/RegionOne",
}


def rendered(region: str, service: str, folder: Path, settings: dict[str, Any]) -> None:
    """Write a service's files of the first host, and certificates where they expect them."""
    made = dummy_region(region)
    hosts = {n: h.model_copy(update={"settings": {**h.settings, **settings}}) for n, h in made.inventory.hosts.items()}
    made = with_dummies(
        dataclasses.replace(made, inventory=made.inventory.model_copy(update={"hosts": hosts}))
    )  # fmt: skip
    for file in resolve.resolve(made, next(iter(hosts)), {service}).files.values():
        if "/" not in file.name:
            (folder / file.name).write_text(file.content.replace("/etc/scs/tls/", "/test/"))
    ca = issuing.new_ca("test")
    leaf = issuing.issue(ca, Wanted(names=("a",), client=True))
    for name, text in (("ca.crt", ca.cert), ("host.crt", leaf.cert), ("host.key", leaf.key)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)


def run(image: str, folder: Path, *words: str) -> str:
    command = ["docker", "run", "--rm", "--network", "none", "--volume", f"{folder}:/test:ro", image, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs(PROMETHEUS)
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.parametrize("region", ["testbed", "testbed-ha"])
def test_prometheus_takes_its_configuration(region: str, settings: dict[str, Any], tmp_path: Path) -> None:
    rendered(region, "prometheus", tmp_path, settings)
    config = tmp_path / "prometheus.yml"
    config.write_text(config.read_text().replace("/etc/prometheus/", "/test/"))
    said = run(PROMETHEUS, tmp_path, "promtool", "check", "config", "/test/prometheus.yml")
    assert "is valid prometheus config file syntax" in said
    assert "rules found" in said


@needs(ALERTMANAGER)
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_alertmanager_takes_its_configuration(settings: dict[str, Any], tmp_path: Path) -> None:
    rendered("testbed-ha", "alertmanager", tmp_path, settings)
    said = run(ALERTMANAGER, tmp_path, "amtool", "check-config", "/test/alertmanager.yml")
    assert "- 2 receivers" in said


@needs(ALERTMANAGER)
@pytest.mark.parametrize(
    ("label", "receiver"), [("alertname=Watchdog", "watchdog"), ("alertname=HostDown", "operators")]
)
def test_each_alert_goes_to_its_receiver(label: str, receiver: str, tmp_path: Path) -> None:
    rendered("testbed-ha", "alertmanager", tmp_path, EVERYTHING)
    route = ("amtool", "config", "routes", "test", "--config.file=/test/alertmanager.yml")
    assert receiver in run(ALERTMANAGER, tmp_path, *route, label).splitlines()
