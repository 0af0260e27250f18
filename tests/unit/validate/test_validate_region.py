# SPDX-License-Identifier: Apache-2.0
"""A complete validation with real requests of openstacksdk against a small fake of the APIs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from scs_deploy import validate
from scs_deploy.base import icmp
from scs_deploy.validate import Verdict, guest_image
from scs_deploy.validate.checks import server as server_checks
from scs_deploy.validate.checks import services
from tests.support.fake_openstack import FakeOpenStack


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=fake -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def cloud(certificate: tuple[Path, Path]) -> Iterator[FakeOpenStack]:
    found = FakeOpenStack(*certificate)
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture(autouse=True)
def guest(cloud: FakeOpenStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server behind the floating IP 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{cloud.guest_id}\n".encode())

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(icmp, "ping", lambda *_, **__: 0.001)
    for name in ("CONSOLE_DEADLINE", "REACH_DEADLINE"):
        monkeypatch.setattr(server_checks, name, 0)
    monkeypatch.setattr(services, "REPORT_DEADLINE", 0)
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        monkeypatch.setattr(server_checks, "PORT", http.server_port)
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield
        http.shutdown()


@pytest.fixture
def environment(
    cloud: FakeOpenStack, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    state = tmp_path / "t" / "state"
    state.mkdir(parents=True)
    names = {"project_name": "admin", "user_domain_name": "Default", "project_domain_name": "Default"}
    auth = {"auth_url": f"{cloud.url}/identity/v3", "username": "admin", **names}
    entry = {"auth": auth, "cacert": str(certificate[0]), "region_name": "R"}
    (state / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"t-admin": entry}}))
    (state / "secure.yaml").write_text(yaml.safe_dump({"clouds": {"t-admin": {"auth": {"password": "x"}}}}))
    picture = tmp_path / "guest.qcow2"
    picture.write_bytes(b"picture" * 1000)
    made = guest_image.GuestImage(path=picture, package="linux-image", version="6", inputs="0" * 64)
    monkeypatch.setattr(guest_image, "ensure", lambda *_, **__: made)
    networks = {"provider": SimpleNamespace(cidr=IPv4Network("172.30.1.0/24"))}
    settings = SimpleNamespace(release="1", testbed=SimpleNamespace(), networks=networks)
    return SimpleNamespace(name="t", state=state, ca_file=certificate[0], settings=settings)


def test_a_healthy_region_passes_and_no_resources_are_left(environment: Any, cloud: FakeOpenStack) -> None:
    report = validate.run(environment)
    assert {r.check: r.message for r in report.results if r.verdict is not Verdict.PASSED} == {
        "east-west": "the region has only one available hypervisor",
        "live-migration": "the region has only one available hypervisor",
    }
    assert report.passed
    assert [r.check for r in report.results] == [*validate.available(), validate.CLEANUP]
    assert cloud.made() == {}


def test_the_regions_own_external_network_is_used_and_kept(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.create("networks", {"name": "public", "router:external": True})
    assert validate.run(environment, ["network"]).passed
    assert cloud.made() == {"networks": ["public"]}


def test_a_failure_is_reported_its_dependents_are_skipped_and_all_resources_removed(
    environment: Any, cloud: FakeOpenStack
) -> None:
    cloud.console = lambda: "SYSLINUX\r\nscs-guest: boot kernel=6 uptime=1\r\n"  # type: ignore[method-assign]
    report = validate.run(environment, ["floating-ip", "console-url"])
    results = {r.check: r for r in report.results}
    message = results["console-log"].message
    assert "got no DHCP lease; its console ends: SYSLINUX | scs-guest: boot kernel=6 uptime=1" in message
    assert results["floating-ip"].verdict is Verdict.SKIPPED
    assert results["console-url"].verdict is Verdict.PASSED
    assert results[validate.CLEANUP].verdict is Verdict.PASSED
    assert not report.passed
    assert cloud.made() == {}


@pytest.mark.parametrize(
    ("resolvers", "said"),
    [
        ("127.0.0.11", "got 127.0.0.11 as DNS server, which is the guest itself"),
        ("", "got no DNS servers with its lease"),
    ],
)
def test_a_guest_must_reach_its_resolver(environment: Any, cloud: FakeOpenStack, resolvers: str, said: str) -> None:
    cloud.resolvers = resolvers
    results = {r.check: r for r in validate.run(environment, ["name-resolution"]).results}
    assert results["name-resolution"].verdict is Verdict.FAILED
    assert said in results["name-resolution"].message


def test_a_broken_api_does_not_stop_the_cleanup_of_the_others(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.broken.add("floatingips")
    report = validate.run(environment, ["floating-ip"])
    results = {r.check: r for r in report.results}
    assert results["floating-ip"].verdict is Verdict.FAILED
    assert results[validate.CLEANUP].message.startswith("could not remove: floating IPs: ")
    assert cloud.made() == {}


def test_a_dead_agent_is_named(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.things["agents"]["a"]["alive"] = False
    result = {r.check: r for r in validate.run(environment, ["services-up"]).results}["services-up"]
    assert result.message == "OVN Controller agent on h is dead"


def test_the_next_validation_removes_kept_resources(environment: Any, cloud: FakeOpenStack) -> None:
    assert validate.run(environment, ["server"], keep=True).passed
    assert len(cloud.made()["servers"]) == 1
    assert validate.run(environment, ["flavor"]).passed
    assert cloud.made() == {}
