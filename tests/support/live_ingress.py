# SPDX-License-Identifier: Apache-2.0
"""Three hosts on loopback, each with a web server and the rendered ingress, behind one rendered HAProxy: all real.

A host has two addresses here: 127.0.20.N stands for the management address, 127.0.30.N for its own loopback.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scs_deploy.desired import resolve
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Leaf, Wanted
from tests.conftest import dummy_region
from tests.support.live_haproxy import IMAGE, docker
from tests.support.peer_hosts import eventually, free_port

HOSTS = ("ha-1", "ha-2", "ha-3")
FRONT = "127.0.0.1"
HEALTH = "/healthcheck"
KEPT = (
    "mode ", "default-server ", "option ", "http-request ", "retry-on ", "http-check ", "balance ", "server ",
    "use_backend ",
)  # fmt: skip
DROPPED = ("http-request track-sc", "http-request return status 429", "http-request sc-inc")


def management(host: str) -> str:
    return f"127.0.20.{HOSTS.index(host) + 1}"


def own(host: str) -> str:
    return f"127.0.30.{HOSTS.index(host) + 1}"


class Process:
    """An API process: one request a connection, as uWSGI has it. `/slow` takes as long as `pause`.

    A sick one fails its health check and works.
    """

    def __init__(self, host: str, address: str, port: int) -> None:
        process = self
        self.requests: list[tuple[str, str | None]] = []
        self.pause = 1.0
        self.sick = False
        self.open: set[socket.socket] = set()

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                process.open.add(self.request)
                super().setup()

            def finish(self) -> None:
                process.open.discard(self.request)
                with suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                while length > 0:
                    length -= len(self.rfile.read(min(length, 65536)))
                process.requests.append((self.path, self.headers.get("X-Forwarded-For")))
                if self.path == "/slow":
                    time.sleep(process.pause)
                with suppress(OSError):
                    self.send_response(503 if process.sick and self.path == HEALTH else 200)
                    self.end_headers()
                    self.wfile.write(host.encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """It takes no more connections."""
        self.server.shutdown()
        self.server.server_close()

    def kill(self) -> None:
        """As SIGKILL: what it has open is reset."""
        self.close()
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A HAProxy of the image with a master, in a folder of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.write(text)
        self.name = f"scs-test-haproxy-{uuid.uuid4().hex[:8]}"
        self.start()

    def write(self, text: str) -> None:
        (self.folder / "haproxy.cfg").write_text(text)

    def start(self) -> None:
        at = str(self.folder)
        docker(
            "run", "--detach", "--name", self.name, "--network", "host", "--volume", f"{at}:{at}",
            "--stop-signal", "SIGUSR1", IMAGE,
            "haproxy", "-W", "-db", "-S", f"{at}/master.sock", "-f", f"{at}/haproxy.cfg",
        )  # fmt: skip
        eventually(lambda: "Uptime_sec" in self.ask("show info"))

    def ask(self, command: str, file: str = "admin.sock") -> str:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(30)
            try:
                one.connect(str(self.folder / file))
                one.sendall(command.encode() + b"\n")
                return b"".join(iter(lambda: one.recv(65536), b"")).decode()
            except OSError:
                return ""

    def reload(self) -> None:
        assert "Success=1" in self.ask("reload", "master.sock")

    def up(self, backend: str) -> dict[str, bool]:
        rows = [line.split(",") for line in self.ask("show stat").splitlines()]
        return {r[1]: r[17].startswith("UP") for r in rows if r[0] == backend and r[1] not in ("FRONTEND", "BACKEND")}

    def sessions(self, backend: str, server: str) -> int:
        rows = [line.split(",") for line in self.ask("show stat").splitlines()]
        return next(int(r[4]) for r in rows if r[:2] == [backend, server])

    def kill(self) -> None:
        docker("kill", "--signal", "KILL", self.name)

    def restart(self) -> None:
        docker("start", self.name)
        eventually(lambda: "Uptime_sec" in self.ask("show info"))

    def stop(self) -> None:
        docker("stop", "--time", "20", self.name)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name)


class Traffic:
    """Requests without a pause, GET and POST, each with a connection of its own; counts what fails."""

    def __init__(self, port: int, threads: int = 3) -> None:
        self.port = port
        self.failed: list[str] = []
        self.done = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]

    def __enter__(self) -> Traffic:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for one in self._threads:
            one.join(30)

    def more(self, count: int = 20) -> None:
        """Wait until so many more requests have ended."""
        before = self.done
        wait(lambda: self.done >= before + count, 120)

    def _run(self, number: int) -> None:
        count = number
        while not self._end.is_set():
            count += 1
            method = "POST" if count % 2 else "GET"
            try:
                status, _ = request(self.port, method, "/v3")
                said = "" if status == 200 else str(status)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            if said:
                self.failed.append(f"{time.strftime('%X')} {method}: {said}")
            self.done += 1
            time.sleep(0.01)


def request(port: int, method: str, path: str, body: bytes = b"{}") -> tuple[int, str]:
    connection = http.client.HTTPConnection(FRONT, port, timeout=30)
    try:
        connection.request(method, path, body=body if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Site:
    """The hosts, and the load balancer of the first one."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.front, self.process_port, self.ingress_port = (free_port("127.0.0.1") for _ in range(3))
        region = dummy_region("testbed-ha")
        self._files = {
            host: {f.name: f.content for f in resolve.resolve(region, host, {"haproxy"}).files.values()}
            for host in HOSTS
        }  # fmt: skip
        self._addresses = {h: region.inventory.hosts[h].management for h in HOSTS}
        self._authorities = {n: issuing.new_ca(f"test {n}") for n in ("api_balancer", "api_ingress")}
        self.processes: dict[str, Process] = {}
        self.ingresses: dict[str, Proxy] = {}
        self.balancer: Proxy

    def process(self, host: str, address: str) -> None:
        """Start the host's process."""
        self.processes[host] = Process(host, address, self.process_port)
        self._stack.callback(self.processes[host].kill)

    def ingress(self, host: str) -> None:
        """Start the host's ingress."""
        folder = self._folder(f"ingress-{host}")
        self.pair(folder / "host", "api_ingress", host)
        (folder / "ca.crt").write_text(self._authorities["api_balancer"].cert)
        proxy = Proxy(folder, self._placed(host, folder, _part(self._files[host]["ingress.cfg"])))
        self.ingresses[host] = proxy
        self._stack.callback(proxy.remove)

    def balance(self, servers: str = "") -> None:
        """Start the load balancer of the first host.

        :param servers: other lines with servers than the rendered ones
        """
        folder = self._folder("balancer")
        self.pair(folder / "api_balancer", "api_balancer", HOSTS[0])
        (folder / "api_balancer-ca.crt").write_text(self._authorities["api_ingress"].cert)
        self.balancer = Proxy(folder, self.configuration(servers))
        self._stack.callback(self.balancer.remove)

    def configuration(self, servers: str = "") -> str:
        """The load balancer's, of the first host."""
        folder = self.folder / "balancer"
        lines = self._files[HOSTS[0]]["haproxy.cfg"].splitlines()
        start = lines.index("defaults")
        defaults = lines[start : lines.index("", start)]
        start = lines.index("listen identity")
        section = _kept(lines, start)
        start = lines.index("backend identity_unchecked")
        unchecked = _kept(lines, start)
        if servers:
            section = [*(x for x in section if not x.startswith(("  server ", "  use_backend "))), servers]
            unchecked = []
        text = "\n".join(
            [
                "global", f"  stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners",
                "  ssl-load-extra-del-ext", "  ssl-default-server-options ssl-min-ver TLSv1.3",
                f"  server-state-file {folder}/servers",
                *(x for x in defaults if "log" not in x),
                "listen identity", f"  bind {FRONT}:{self.front}", *section, "",
                *(["backend identity_unchecked", *unchecked, ""] if unchecked else []),
            ]
        )  # fmt: skip
        return self._placed(HOSTS[0], folder, text)

    def pair(self, stem: Path, group: str, host: str) -> None:
        """Write a host's certificate and key of a group."""
        wanted = Wanted(names=(host,), group=group, server=group != "api_balancer", client=group == "api_balancer")
        leaf: Leaf = issuing.issue(self._authorities[group], wanted)
        stem.with_suffix(".crt").write_text(leaf.cert)
        stem.with_suffix(".key").write_text(leaf.key)

    def drain(self, host: str) -> None:
        """Have the load balancer send nothing more to a host, and wait until it has nothing there."""
        self.balancer.ask(f"set server identity/{host} state drain")
        eventually(lambda: self.balancer.sessions("identity", host) == 0)

    def use(self, host: str) -> None:
        """Have the load balancer use a host again, and wait until it finds it well."""
        self.balancer.ask(f"set server identity/{host} state ready")
        wait(lambda: self.balancer.up("identity")[host])

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        return folder

    def _placed(self, host: str, folder: Path, text: str) -> str:
        for name, address in self._addresses.items():
            text = text.replace(f"{address}:", f"{management(name)}:")
        text = text.replace("127.0.0.1:5000", f"{own(host)}:5000")
        text = re.sub(r":25000\b", f":{self.ingress_port}", text)
        text = re.sub(r":5000\b", f":{self.process_port}", text)
        return text.replace("/etc/scs/tls/", f"{folder}/").replace("/run/ingress/", f"{folder}/")


def _kept(lines: list[str], start: int) -> list[str]:
    """The lines of the section that begins there, without what needs other sections."""
    section = (x for x in lines[start + 1 : lines.index("", start)] if x.strip().startswith(KEPT))
    return [x for x in section if not x.strip().startswith(DROPPED)]


def _part(text: str) -> str:
    """Without the listeners of other endpoints."""
    head, *sections = text.split("\nlisten ")
    return head + "\nlisten " + next(s for s in sections if s.startswith("identity\n")) + "\n"


def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
