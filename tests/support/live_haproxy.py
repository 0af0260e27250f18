# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy of the region's image on loopback, before web servers that tell their name and can be slow."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.images import available, needs
from tests.support.peer_hosts import eventually, free_port

IMAGE = "scs/haproxy:2025.1"
UNCHECKED = "_unchecked"


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=120).stdout.strip()


needs_haproxy = needs(IMAGE)


class Quiet(BaseHTTPRequestHandler):
    """Answers a POST as a GET, and logs nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self) -> None:
        raise NotImplementedError

    def log_message(self, *_: object) -> None:
        pass


def served(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server on loopback, at work on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class Web:
    """A web server; `/slow` answers when it is released."""

    def __init__(self, name: str) -> None:
        web = self
        self.release = threading.Event()
        self.busy = threading.Event()

        class Handler(Quiet):
            def do_GET(self) -> None:
                if self.path == "/slow":
                    web.busy.set()
                    web.release.wait(30)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(name.encode())

        self.server = served(Handler)
        self.port = self.server.server_address[1]

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


def ask(port: int, path: str = "/", timeout: float = 30) -> str:
    """The name of the server that answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


class Balancer:
    """HAProxy in a container, its folder of sockets, and its ports."""

    def __init__(self, folder: Path, servers: dict[str, Web], expose: str) -> None:
        self.folder = folder
        self.ports = {"many": free_port("127.0.0.1"), "one": free_port("127.0.0.1")}
        self.names: list[str] = []
        lines = [
            "global", "  stats socket /run/scs/haproxy/admin.sock mode 600 level admin" + expose,
            "  server-state-file /run/scs/haproxy/servers", "  hard-stop-after 30s",
            "defaults", "  mode http", "  load-server-state-from-file global", "  timeout connect 2s",
            "  timeout client 60s", "  timeout server 60s", "  default-server check inter 200ms rise 1 fall 2",
        ]  # fmt: skip
        for name, port in self.ports.items():
            lines += [f"listen {name}", f"  bind 127.0.0.1:{port}"]
            if name == "one":
                lines += ["  stick-table type integer size 100 nopurge srvkey name", "  stick on int(1)"]
            else:
                lines.append(f"  use_backend {name}{UNCHECKED} if {{ nbsrv({name}) eq 0 }}")
            for number, (server, web) in enumerate(servers.items()):
                backup = " backup" if name == "one" and number else ""
                lines.append(f"  server {server} 127.0.0.1:{web.port}{backup}")
        lines += [f"backend many{UNCHECKED}", "  default-server no-check"]
        lines += [f"  server {server} 127.0.0.1:{web.port}" for server, web in servers.items()]
        (folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        name = f"scs-test-haproxy-{uuid.uuid4().hex[:8]}"
        self.names.append(name)
        docker(
            "run", "--detach", "--name", name, "--network", "host", "--volume", f"{self.folder}:/run/scs/haproxy",
            IMAGE, "haproxy", "-W", "-db", "-f", "/run/scs/haproxy/haproxy.cfg",
        )  # fmt: skip

    def stop(self) -> None:
        for name in self.names:
            docker("rm", "--force", "--volumes", name)


@contextmanager
def running(folder: Path, text: str) -> Iterator[None]:
    """HAProxy with this configuration: the machine's, else the image's. Without either, the test is skipped."""
    program = shutil.which("haproxy")
    if not program and not available(IMAGE):
        pytest.skip(f"no haproxy and no Docker engine with {IMAGE}")
    file = folder / "haproxy.cfg"
    file.write_text(text)
    if program:
        with subprocess.Popen([program, "-db", "-f", str(file)]) as process:
            try:
                yield
            finally:
                process.kill()
        return
    folder.chmod(0o755)
    name = f"scs-test-haproxy-{uuid.uuid4().hex[:8]}"
    docker(
        "run", "--detach", "--name", name, "--network", "host", "--volume", f"{folder}:/etc/test:ro", IMAGE,
        "haproxy", "-db", "-f", "/etc/test/haproxy.cfg",
    )  # fmt: skip
    try:
        yield
    finally:
        docker("rm", "--force", "--volumes", name)


@contextmanager
def balancing(folder: Path, expose: str = " expose-fd listeners") -> Iterator[tuple[Balancer, dict[str, Web]]]:
    """HAProxy before servers `a` and `b`: backend `many` uses both, `one` keeps to one of them."""
    servers = {"a": Web("a"), "b": Web("b")}
    balancer = Balancer(folder, servers, expose)
    try:
        balancer.start()
        eventually(lambda: (folder / "admin.sock").exists())
        eventually(lambda: answers(balancer.ports["one"]))
        yield balancer, servers
    finally:
        balancer.stop()
        for web in servers.values():
            web.close()


def answers(port: int, path: str = "/") -> bool:
    """Whether somebody does."""
    try:
        return bool(ask(port, path, timeout=2))
    except (OSError, AssertionError, http.client.HTTPException):
        time.sleep(0.05)
        return False


__all__ = ["Balancer", "Web", "answers", "ask", "balancing", "docker", "needs", "needs_haproxy", "running"]
