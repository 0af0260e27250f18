# SPDX-License-Identifier: Apache-2.0
"""A host shows its metrics to monitoring servers only, and lets them do nothing else: a real HAProxy with the rendered
configuration before web servers on loopback."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from scs_deploy.desired import metrics, resolve
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Leaf, Wanted
from tests.conftest import dummy_region
from tests.support.live_haproxy import Quiet, needs_haproxy, served
from tests.support.live_ingress import Proxy
from tests.support.peer_hosts import free_port

pytestmark = needs_haproxy

HOST = "ha-1"


class Exporter:
    """Answers every request with its container's name, method and URL."""

    def __init__(self, name: str) -> None:
        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(f"{name} {self.command} {self.path}".encode())

            def do_DELETE(self) -> None:
                self.do_GET()

        self.server = served(Handler)
        self.port = self.server.server_address[1]


class Door:
    """The ingress of a host, and the certificates of those who knock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        region = dummy_region("testbed-ha")
        host = region.inventory.hosts[HOST]
        self.exporters = {t.container: Exporter(t.container) for t in metrics.of_host(region, host)}
        self.port = free_port("127.0.0.1")
        self.authorities = {n: issuing.new_ca(f"test {n}") for n in ("metrics_ingress", "metrics_reader", "galera")}
        self.pair("host", "metrics_ingress", server=True)
        (folder / "ca.crt").write_text(self.authorities["metrics_reader"].cert)
        files = resolve.resolve(region, HOST, {"metrics_ingress"}).files.values()
        text = next(f.content for f in files if f.name == "metrics.cfg")
        text = text.replace(f"bind {host.management}:9101", f"bind 127.0.0.1:{self.port}")
        for target in metrics.of_host(region, host):
            text = text.replace(f" 127.0.0.1:{target.port}\n", f" 127.0.0.1:{self.exporters[target.container].port}\n")
        self.proxy = Proxy(folder, text.replace("/etc/scs/tls/", f"{folder}/").replace("/run/ingress/", f"{folder}/"))

    def pair(self, name: str, group: str, server: bool = False) -> Path:
        wanted = Wanted(names=("127.0.0.1",), group=group, server=server, client=not server)
        leaf: Leaf = issuing.issue(self.authorities[group], wanted)
        stem = self.folder / name
        stem.with_suffix(".crt").write_text(leaf.cert)
        stem.with_suffix(".key").write_text(leaf.key)
        return stem

    def ask(self, path: str, group: str = "metrics_reader", method: str = "GET") -> tuple[int, str]:
        """Status and body of the answer to a holder of a group's certificate; empty: one without."""
        context = ssl.create_default_context(cadata=self.authorities["metrics_ingress"].cert)
        if group:
            stem = self.pair(f"client-{group}", group)
            context.load_cert_chain(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        try:
            connection.request(method, path, body=b"[]" if method == "POST" else None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    made = Door(tmp_path_factory.mktemp("ingress"))
    yield made
    made.proxy.remove()
    for exporter in made.exporters.values():
        exporter.server.shutdown()
        exporter.server.server_close()


def test_each_container_shows_its_metrics_at_its_name(door: Door) -> None:
    assert {"node_exporter", "prometheus", "alertmanager", "rabbitmq", "mysqld_exporter"} <= door.exporters.keys()
    for name in door.exporters:
        status, said = door.ask(f"/{name}")
        assert (status, said.split("?")[0]) == (200, f"{name} GET /metrics")
    assert door.ask("/haproxy")[1].endswith("?scope=global&scope=frontend&scope=backend")


@pytest.mark.parametrize("group", ["", "galera"])
def test_others_get_nothing(door: Door, group: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        door.ask("/node_exporter", group)


def test_alerts_are_sent_and_nothing_else(door: Door) -> None:
    """Whoever reads metrics cannot silence alerts or stop Prometheus."""
    assert door.ask("/alertmanager/api/v2/alerts", method="POST") == (200, "alertmanager POST /api/v2/alerts")
    for method, path in (
        ("POST", "/alertmanager/api/v2/silences"), ("GET", "/alertmanager/api/v2/alerts"),
        ("DELETE", "/alertmanager/api/v2/alerts"), ("POST", "/prometheus/-/quit"), ("GET", "/prometheus/api/v1/query"),
        ("POST", "/node_exporter"), ("GET", "/node_exporter/../-/quit"), ("GET", "/"),
    ):  # fmt: skip
        assert door.ask(path, method=method)[0] == 503, path
