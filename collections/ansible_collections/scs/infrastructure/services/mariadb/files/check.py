#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Tells load balancers and other members whether this member takes reads and writes: HTTP 200, otherwise 503 and why.

Takes the address to listen on. One client stays connected and answers all of them: every load balancer asks every two
seconds, and a process with a TLS connection for each question costs more than all its answers. The client reads the
settings of `monitor.sh`, and a new one begins when it has ended, or does not answer.
"""

import configparser
import http.server
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PORT = 4569
SETTINGS = Path(__file__).with_name("monitor.cnf")
PATIENCE = 2.5
"""Seconds for an answer of the server: less than a load balancer waits for a check."""
ASKER = 3
"""Seconds that somebody may take to say what is asked."""
STATEMENT = (
    "SELECT GROUP_CONCAT(VARIABLE_NAME, '=', VARIABLE_VALUE ORDER BY VARIABLE_NAME) "
    "FROM information_schema.GLOBAL_STATUS "
    "WHERE VARIABLE_NAME IN ('WSREP_CLUSTER_STATUS', 'WSREP_LOCAL_STATE', 'WSREP_READY');\n"
)
UNREACHABLE = ("ERROR 2002", "ERROR 2003")
"""A client says the same of a host that is away and of a server that is not there."""
# Synced (4), or donor of a copy for a new member (2), which mariabackup does not block.
SERVES = frozenset(f"WSREP_CLUSTER_STATUS=Primary,WSREP_LOCAL_STATE={state},WSREP_READY=ON" for state in "24")


class Member:
    """This host's server, asked through a client that stays connected."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._client: subprocess.Popen[bytes] | None = None

    def state(self) -> str:
        """What the server says of itself, or the error; within PATIENCE seconds."""
        end = time.monotonic() + PATIENCE
        if not self._one.acquire(timeout=PATIENCE):
            return "the server has not answered an earlier question"
        try:
            if self._client:
                said = self._ask(self._client, end)
                # the server may have ended the connection since the last question, e.g. when it restarted
                if self._client or time.monotonic() >= end:
                    return said
            return self._begin(end)
        finally:
            self._one.release()

    def _begin(self, end: float) -> str:
        """Ask through a new client, at the reserved port. A server from before there was one answers at the usual."""
        found = configparser.ConfigParser(allow_no_value=True, interpolation=None)
        found.read(SETTINGS)
        host, reserved, usual = found["client"]["host"], found["client_reserved"]["port"], found["client"]["port"]
        said = self._ask(self._connect(host, reserved), end)
        if not self._client and any(error in said for error in UNREACHABLE) and _refused(host, int(reserved)):
            said = self._ask(self._connect(host, usual), end)
        return said

    def _connect(self, host: str, port: str) -> "subprocess.Popen[bytes]":
        self._client = subprocess.Popen(
            ["mariadb", f"--defaults-file={SETTINGS}", f"--host={host}", f"--port={port}",
             "--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self._client

    def _ask(self, client: "subprocess.Popen[bytes]", end: float) -> str:
        """What a client says; one that has no answer is ended."""
        assert client.stdin and client.stdout
        with suppress(BrokenPipeError):
            client.stdin.write(STATEMENT.encode())
            client.stdin.flush()
        said = b""
        with selectors.DefaultSelector() as waiting:
            waiting.register(client.stdout, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not waiting.select(max(0.0, end - time.monotonic())):
                    said = b"the server does not answer"
                    break
                more = os.read(client.stdout.fileno(), 4096)
                if not more:
                    said = said or b"the client has ended"
                    break
                said += more
        answer = " ".join(said.decode(errors="replace").split())
        if not answer.startswith("WSREP_"):
            self._end(client)
        return answer

    def _end(self, client: "subprocess.Popen[bytes]") -> None:
        self._client = None
        client.kill()
        client.wait()
        for stream in (client.stdin, client.stdout):
            with suppress(OSError):
                assert stream
                stream.close()


def _refused(host: str, port: int) -> bool:
    """Whether a host says that nobody listens."""
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class Asked(http.server.BaseHTTPRequestHandler):
    """A question of a load balancer, or of another member."""

    timeout = ASKER
    member: Member

    def do_GET(self) -> None:
        """Answer with the member's state."""
        state = self.member.state()
        body = f"{state}\n".encode()
        self.send_response(200 if state in SERVES else 503)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: they ask every two seconds."""


class Server(http.server.ThreadingHTTPServer):
    """Listens on the member's address, also when that is one of IPv6."""

    request_queue_size = 64

    def __init__(self, address: str, port: int = PORT) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Asked)


if __name__ == "__main__":
    Asked.member = Member()
    Server(sys.argv[1]).serve_forever()
