# SPDX-License-Identifier: Apache-2.0
"""HTTPS between the control hosts. Both sides present their host's certificate and verify the other side's.

`Peers.serve` answers requests of members; `ask`, `ask_all` and `download` send them. Standard library only. Every step
of a connection has a timeout, so that a hanging host delays a caller only for seconds.
"""

import http.client
import http.server
import json
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

TIMEOUT = 10  # seconds for each read, write or handshake
CONNECT_TIMEOUT = 3
CONNECTIONS = 32  # served at a time; further ones are rejected
LIMIT = 1 << 20  # maximum bytes of a JSON response
CHUNK = 1 << 20


class RefusedError(Exception):
    """The host is up, but nothing listens on the port."""


class UnreachableError(Exception):
    """No usable response: the host is down, slow, or has another host's certificate."""


def log(text: str) -> None:
    """Write a line to the container's log."""
    print(text, flush=True)


def _common_name(connection: ssl.SSLSocket) -> str:
    certificate = cast(dict[str, Any], connection.getpeercert() or {})
    return next((v for part in certificate.get("subject", ()) for k, v in part if k == "commonName"), "")


class File:
    """A streamed response."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size


Json = dict[str, Any]

Answer = Callable[[str, str], Json | File | None]
"""(method, path) -> JSON, file, or None if it does not exist"""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: "_Server"

    def setup(self) -> None:
        # in this connection's own thread, so that a client that never completes its handshake blocks no other client
        self.request.settimeout(self.server.peers.timeout)
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def _answer(self) -> None:
        common_name = _common_name(self.request)
        if self.server.peers.member(common_name) is None:
            log(f"refused {common_name or 'a nameless certificate'} at {self.client_address[0]}: no control host")
            self._send(403, {"error": "no control host"})
            return
        answer = self.server.answer(self.command, self.path)
        if isinstance(answer, File):
            with answer.stream as stream:
                self._head(200, answer.size, "application/octet-stream")
                left = answer.size
                while left and (block := stream.read(min(CHUNK, left))):
                    self.wfile.write(block)
                    left -= len(block)
        else:
            self._send(404 if answer is None else 200, {} if answer is None else answer)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _send(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self._head(status, len(data), "application/json")
        self.wfile.write(data)

    def _head(self, status: int, size: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Requests are not logged, because there is one every few seconds."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, peers: "Peers", port: int, answer: Answer) -> None:
        peers.context(ssl.Purpose.CLIENT_AUTH)
        address = peers.members[peers.own]
        self.peers, self.answer = peers, answer
        self.free = threading.BoundedSemaphore(peers.connections)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS context of one connection, so that new connections use new certificates."""
        return self.peers.context(ssl.Purpose.CLIENT_AUTH)

    # HTTPServer's own version looks up its name in DNS
    server_bind = socketserver.TCPServer.server_bind

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        log(f"request from {client_address[0]}: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Peers:
    """The control hosts, as this one knows them. The first one creates what only one host may create."""

    own: str
    members: dict[str, str]  # name: address, in the inventory's order
    tls: str = "/etc/scs/tls"
    timeout: float = TIMEOUT
    connections: int = CONNECTIONS

    @classmethod
    def read(cls, file: Path) -> "Peers":
        """Read the rendered settings.

        :raises OSError: they cannot be read
        """
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    @property
    def first(self) -> str:
        return next(iter(self.members))

    @property
    def others(self) -> list[str]:
        return [name for name in self.members if name != self.own]

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """TLS with this host's certificate. Requires one of the other side."""
        context = ssl.create_default_context(purpose, cafile=f"{self.tls}/ca.crt")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(f"{self.tls}/host.crt", f"{self.tls}/host.key")
        return context

    def member(self, common_name: str) -> str | None:
        """The control host that a certificate names. X.509 truncates names to 64 characters."""
        return next((name for name in self.members if name[:64] == common_name), None)

    def serve(self, port: int, answer: Answer) -> None:
        """Answer requests of members, in threads.

        :raises OSError: the port is taken, or a certificate is missing
        """
        server = _Server(self, port, answer)
        threading.Thread(target=server.serve_forever, name="peers", daemon=True).start()

    @contextmanager
    def download(
        self, name: str, port: int, path: str, method: str = "GET"
    ) -> Iterator[http.client.HTTPResponse | None]:
        """A member's response to read; None if the path does not exist there.

        :raises RefusedError: nothing listens on the port
        :raises UnreachableError: any other error, also while the response is read
        """
        connection = http.client.HTTPSConnection(
            self.members[name], port, timeout=CONNECT_TIMEOUT, context=self.context(ssl.Purpose.SERVER_AUTH)
        )
        try:
            try:
                connection.connect()
            except ConnectionRefusedError:
                raise RefusedError(f"{name} refuses the connection") from None
            connection.sock.settimeout(self.timeout)
            common_name = _common_name(connection.sock)
            if self.member(common_name) != name:
                raise UnreachableError(f"{name}: its certificate names {common_name}")
            connection.request(method, path)
            response = connection.getresponse()
            if response.status not in (200, 404):
                raise UnreachableError(f"{name}: HTTP status {response.status}")
            yield response if response.status == 200 else None
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{name}: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def ask(self, name: str, port: int, path: str, method: str = "GET") -> Json | None:
        """A member's JSON; None if the path does not exist there.

        :raises RefusedError: nothing listens on the port
        :raises UnreachableError: any other error
        """
        with self.download(name, port, path, method) as response:
            if response is None:
                return None
            try:
                answer = json.loads(response.read(LIMIT))
            except ValueError:
                raise UnreachableError(f"{name}: no JSON") from None
        if not isinstance(answer, dict):
            raise UnreachableError(f"{name}: no JSON object")
        return answer

    def ask_all(self, port: int, path: str, method: str = "GET") -> dict[str, Json | Exception]:
        """The responses or errors of all other control hosts, requested in parallel."""

        def one(name: str) -> Json | Exception:
            try:
                answer = self.ask(name, port, path, method)
            except (RefusedError, UnreachableError) as error:
                return error
            return UnreachableError(f"{name} knows no {path}") if answer is None else answer

        if not self.others:
            return {}
        with ThreadPoolExecutor(len(self.others)) as pool:
            return dict(zip(self.others, pool.map(one, self.others), strict=True))
