# SPDX-License-Identifier: Apache-2.0
"""What a client says of its scheme, host and address reaches no service: a real HAProxy with the rendered rules."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scs_deploy.desired import resolve
from tests.conftest import dummy_region
from tests.support.live_haproxy import answers, running
from tests.support.peer_hosts import eventually, free_port

RULES = ("mode http", "option forwardfor", "http-request", "http-response")
LIMITS = ("http-request track-sc", "http-request sc-inc", "http-request return status 429")
"""test_haproxy_limits.py has those; they need the tables of other sections."""
HEAD = """\
defaults
  timeout connect 2s
  timeout client 10s
  timeout server 10s
"""
CLAIMS = {
    "Forwarded": "for=192.0.2.66;host=evil.example;proto=http",
    "X-Forwarded-For": "192.0.2.66",
    "x-forwarded-host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": "/evil",
    "X_Forwarded_Host": "evil.example",
    "X-Forwarded_Port": "66",
}


def sections(region: str) -> dict[str, list[str]]:
    """endpoint: its rules for HTTP, as HAProxy of a region's first host has them."""
    made = dummy_region(region)
    files = resolve.resolve(made, next(iter(made.inventory.hosts)), {"haproxy"}).files.values()
    text = next(f.content for f in files if f.name == "haproxy.cfg")
    found: dict[str, list[str]] = {}
    for block in text.split("\nlisten ")[1:]:
        name, *lines = block.partition("\nfrontend ")[0].splitlines()
        if any(line.strip() == "mode http" for line in lines):
            found[name] = [
                line for line in lines if line.strip().startswith(RULES) and not line.strip().startswith(LIMITS)
            ]
    return found


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self) -> None:
        text = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """endpoint: port of HAProxy, which has all endpoints' rules before one server."""
    folder = tmp_path_factory.mktemp("haproxy")
    web = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
    found, text = {}, HEAD
    for name, rules in sections("testbed").items():
        found[name] = free_port("127.0.0.1")
        lines = [f"  bind 127.0.0.1:{found[name]}", *rules, f"  server a 127.0.0.1:{web.server_address[1]}"]
        text += "\n".join([f"listen {name}", *lines, ""])
    try:
        with running(folder, text):
            eventually(lambda: all(answers(port) for port in found.values()))
            yield found
    finally:
        web.shutdown()
        web.server_close()


def arrives(port: int) -> dict[str, list[str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers=CLAIMS)
    found: dict[str, list[str]] = {}
    for name, value in json.loads(connection.getresponse().read()):
        if "forward" in name:
            found.setdefault(name, []).append(value)
    connection.close()
    return found


def test_services_see_what_the_load_balancer_sees(ports: dict[str, int]) -> None:
    assert {"identity", "image", "compute", "network", "dashboard"} <= set(ports)
    for name, port in ports.items():
        if name != "metadata":
            assert arrives(port) == {"x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["https"]}, name


def test_nova_sees_for_which_guest_the_metadata_agent_asks(ports: dict[str, int]) -> None:
    assert arrives(ports["metadata"]) == {"x-forwarded-for": ["192.0.2.66"], "x-forwarded-proto": ["https"]}
