# SPDX-License-Identifier: Apache-2.0
"""HTTPS between the control hosts. Both sides show their host's certificate and check whose the other one's is.

`serve` answers the members' requests, `ask`, `ask_all` and `download` make them. Standard library only. Every step of a
connection has a timeout: a host that hangs costs a caller seconds.
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
from typing import BinaryIO

OWN = "ha-2"
# All control hosts and their addresses; the first one makes what only one may make.
MEMBERS = {
    "ha-1": "172.30.2.11",
    "ha-2": "172.30.2.12",
    "ha-3": "172.30.2.13",
}
FIRST = next(iter(MEMBERS))
PEERS = [name for name in MEMBERS if name != OWN]

TLS = "/etc/scs/tls"
TIMEOUT = 10  # seconds that one read, write or handshake may take
CONNECT_TIMEOUT = 3
CONNECTIONS = 32  # served at a time, more are turned away
LIMIT = 1 << 20  # bytes of an answer that is read as a whole
CHUNK = 1 << 20


class Refused(Exception):
    """The host is up and nothing listens there."""


class Unreachable(Exception):
    """No usable answer: the host is away, slow, or not who it should be."""


def log(text: str) -> None:
    """A line in the container's log."""
    print(text, flush=True)


def _context(purpose: ssl.Purpose) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=f"{TLS}/ca.crt")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(f"{TLS}/host.crt", f"{TLS}/host.key")
    return context


def _common_name(connection: ssl.SSLSocket) -> str:
    subject = (connection.getpeercert() or {}).get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), "")


def _member(common_name: str) -> "str | None":
    """The control host that a certificate names; X.509 cuts names after 64 characters."""
    return next((name for name in MEMBERS if name[:64] == common_name), None)


class File:
    """An answer that is streamed."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size


Answer = Callable[[str, str], "dict | File | None"]
"""(method, path) -> JSON, file, or None: no such thing"""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: "_Server"

    def setup(self) -> None:
        # In this connection's own thread: a client that never ends its handshake holds up nobody else.
        self.request.settimeout(TIMEOUT)
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def _answer(self) -> None:
        common_name = _common_name(self.request)
        if _member(common_name) is None:
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

    do_GET = do_POST = _answer

    def _send(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self._head(status, len(data), "application/json")
        self.wfile.write(data)

    def _head(self, status: int, size: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Requests are not logged: there is one every few seconds."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, port: int, answer: Answer) -> None:
        _context(ssl.Purpose.CLIENT_AUTH)
        self.answer = answer
        self.free = threading.BoundedSemaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)

    @property
    def tls(self) -> ssl.SSLContext:
        """Of one connection: new certificates count from the next one on."""
        return _context(ssl.Purpose.CLIENT_AUTH)

    # HTTPServer's would look its own name up in DNS.
    server_bind = socketserver.TCPServer.server_bind

    def process_request(self, request: socket.socket, client_address: tuple) -> None:
        if not self.free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: tuple) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: socket.socket, client_address: tuple) -> None:
        error = sys.exc_info()[1]
        log(f"request from {client_address[0]}: {type(error).__name__}: {error}")


def serve(port: int, answer: Answer) -> None:
    """Answer the members' requests, in threads.

    :raises OSError: the port is taken, or a certificate is missing
    """
    server = _Server(MEMBERS[OWN], port, answer)
    threading.Thread(target=server.serve_forever, name="peers", daemon=True).start()


@contextmanager
def download(name: str, port: int, path: str, method: str = "GET") -> Iterator["http.client.HTTPResponse | None"]:
    """A member's answer to read; None: it has no such thing.

    :raises Refused: nothing listens there
    :raises Unreachable: anything else, also while the answer is read
    """
    connection = http.client.HTTPSConnection(
        MEMBERS[name], port, timeout=CONNECT_TIMEOUT, context=_context(ssl.Purpose.SERVER_AUTH)
    )
    try:
        try:
            connection.connect()
        except ConnectionRefusedError:
            raise Refused(f"{name} refuses the connection") from None
        connection.sock.settimeout(TIMEOUT)
        found = _common_name(connection.sock)
        if _member(found) != name:
            raise Unreachable(f"{name}: its certificate names {found}")
        connection.request(method, path)
        response = connection.getresponse()
        if response.status not in (200, 404):
            raise Unreachable(f"{name}: HTTP status {response.status}")
        yield response if response.status == 200 else None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{name}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def ask(name: str, port: int, path: str, method: str = "GET") -> "dict | None":
    """A member's JSON; None: it has no such thing.

    :raises Refused: nothing listens there
    :raises Unreachable: anything else
    """
    with download(name, port, path, method) as response:
        if response is None:
            return None
        try:
            found = json.loads(response.read(LIMIT))
        except ValueError:
            raise Unreachable(f"{name}: no JSON") from None
    if not isinstance(found, dict):
        raise Unreachable(f"{name}: no JSON object")
    return found


def ask_all(port: int, path: str, method: str = "GET") -> "dict[str, dict | Exception]":
    """What every other control host says, or why it does not, asked at the same time."""

    def one(name: str) -> "dict | Exception":
        try:
            answer = ask(name, port, path, method)
        except (Refused, Unreachable) as error:
            return error
        return Unreachable(f"{name} knows no {path}") if answer is None else answer

    if not PEERS:
        return {}
    with ThreadPoolExecutor(len(PEERS)) as pool:
        return dict(zip(PEERS, pool.map(one, PEERS), strict=True))
