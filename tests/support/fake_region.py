# SPDX-License-Identifier: Apache-2.0
"""A region on loopback as a prober sees it: Keystone's tokens, catalogue and projects, over TLS with a region CA."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scs_deploy.prober.model import ProbeJob, Target
from scs_deploy.secrets import pki, vault
from tests.support import certificates
from tests.unit.secrets.test_secrets import region as environment_in

NAME = "api.region.test"
"""Resolved by nobody: the prober is told the address."""


class FakeRegion:
    """What the region holds, and how it shall answer."""

    def __init__(self) -> None:
        self.projects: dict[str, str] = {}
        self.wanted: dict[str, Any] = {}
        """of the project that was asked for last"""
        self.requests: list[str] = []
        self.connections: set[tuple[str, int]] = set()
        self.status = 0
        """answer list calls so instead; 0: well"""
        self.port = 0
        self.made = threading.Event()
        """a project was made"""
        self.keep = threading.Event()
        """set: projects may be deleted"""
        self.keep.set()

    def job(self, ca: Path, **other: Any) -> ProbeJob:
        """The job of a prober for this region."""
        target = Target(name="identity", list="/services", create="/projects", key="project")
        url = f"https://{NAME}:{self.port}/v3"
        base: dict[str, Any] = {"auth_url": url, "password": "secret", "ca": ca, "targets": (target,), "timeout": 2}
        return ProbeJob(**{**base, "addresses": {NAME: "127.0.0.1"}, **other})

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        """(status, headers, body) of a request."""
        path, _, query = path.removeprefix("/v3").partition("?")
        self.requests.append(f"{method} {path}")
        if path == "/auth/tokens":
            good = body["auth"]["identity"]["password"]["user"]["password"] == "secret"
            return (201, {"X-Subject-Token": "t"}, {}) if good else (401, {}, {})
        if path == "/auth/catalog":
            url = f"https://{NAME}:{self.port}/v3"
            return 200, {}, {"catalog": [{"type": "identity", "endpoints": [{"interface": "public", "url": url}]}]}
        if path == "/services":
            return (self.status, {}, {}) if self.status else (200, {}, {"services": []})
        if path == "/projects" and method == "POST":
            made = {"id": f"p{len(self.requests)}", "name": body["project"]["name"]}
            self.projects[made["id"]] = made["name"]
            self.wanted = body["project"]
            self.made.set()
            return 201, {}, {"project": made}
        if path == "/projects":
            name = query.removeprefix("name=")
            return 200, {}, {"projects": [{"id": i, "name": n} for i, n in self.projects.items() if n == name]}
        project = path.removeprefix("/projects/")
        if project not in self.projects:
            return 404, {}, {}
        if method == "DELETE":
            if not self.keep.wait(20):
                return 500, {}, {}
            self.projects.pop(project, None)
            return 204, {}, None
        return 200, {}, {"project": {"id": project}}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[FakeRegion, Path]]:
    """A region that answers, and its CA's certificate."""
    environment = environment_in(folder)
    vault.create_password(environment)
    pki.ensure(environment, {"api": certificates.server(NAME)})
    leaf = pki.load(environment).leaf("api")
    pem = folder / "api.pem"
    pem.write_text(leaf.cert + leaf.key)
    region = FakeRegion()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            region.connections.add(self.client_address)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, headers, answer = region.answer(self.command, self.path, body)
            content = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    region.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield region, environment.ca_file
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
