# SPDX-License-Identifier: Apache-2.0
"""What one source does at the external address starves neither other clients nor the region, and nobody there tries
passwords without end: a real HAProxy on loopback."""

from __future__ import annotations

import http.client
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from scs_deploy.desired import resolve
from tests.conftest import dummy_region
from tests.support.live_haproxy import Web, answers, running
from tests.support.peer_hosts import eventually, free_port

EXTERNAL, INTERNAL = "127.0.0.2", "127.0.0.1"
RULES = ("acl ", "tcp-request ", "http-request track-", "http-request return ", "http-request sc-inc-")


@dataclass(frozen=True)
class Edge:
    """The identity API's listener with the region's limits, on an external and an internal address."""

    port: int
    total: int
    per_source: int
    logins: int

    def idle(self, source: str) -> socket.socket:
        """A connection that asks nothing; it may be reset at once."""
        made = socket.socket()
        made.settimeout(10)
        made.bind((source, 0))
        with suppress(ConnectionResetError):
            made.connect((EXTERNAL, self.port))
        return made

    def post(self, path: str, source: str, address: str = EXTERNAL, times: int = 1) -> list[tuple[int, str | None]]:
        """Status and Retry-After of each of these requests."""
        found = []
        connection = http.client.HTTPConnection(address, self.port, timeout=10, source_address=(source, 0))
        try:
            for _ in range(times):
                connection.request("POST", path, body=b"{}")
                answer = connection.getresponse()
                answer.read()
                found.append((answer.status, answer.headers["Retry-After"]))
        finally:
            connection.close()
        return found

    def answers(self, address: str, source: str) -> bool:
        """Whether a request to an address is answered."""
        connection = http.client.HTTPConnection(address, self.port, timeout=10, source_address=(source, 0))
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def configuration(port: int, server: int) -> tuple[str, Edge]:
    """The rendered limits around one listener without TLS."""
    made = dummy_region("testbed")
    files = resolve.resolve(made, next(iter(made.inventory.hosts)), {"haproxy"}).files.values()
    lines = next(f.content for f in files if f.name == "haproxy.cfg").splitlines()
    start = lines.index("listen identity")
    end = next(i for i in range(start + 1, len(lines)) if lines[i].startswith("listen "))
    limits = [
        x.replace(str(made.environment.settings.api.external.address), EXTERNAL)
        for x in lines[start:end] if x.strip().startswith(RULES)
    ]  # fmt: skip
    first = lines.index("backend external_connections")
    tables = lines[first : first + 6]
    numbers = [int(x.split("gt ")[1].split()[0]) for x in limits if " gt " in x]
    logins = next(int(x.split("gpc0_rate ge ")[1].split()[0]) for x in limits if " return " in x)
    text = "\n".join(
        [
            "global", *(x for x in lines if x.startswith("  maxconn ")),
            "defaults", "  mode http", "  timeout connect 2s", "  timeout client 60s", "  timeout server 10s",
            "  timeout http-request 60s", *tables,
            "listen identity", f"  bind {INTERNAL}:{port}", f"  bind {EXTERNAL}:{port}", *limits,
            f"  server a 127.0.0.1:{server}", "",
        ]
    )  # fmt: skip
    return text, Edge(port, per_source=numbers[0], total=numbers[1], logins=logins)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    web = Web("a")
    text, made = configuration(free_port(INTERNAL), web.port)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running(tmp_path, text):
            eventually(lambda: answers(made.port))
            yield made
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        web.close()


def alive(connections: list[socket.socket]) -> int:
    """How many of these the load balancer has not closed."""
    kept = 0
    for c in connections:
        c.setblocking(False)
        try:
            kept += c.recv(1) != b""
        except BlockingIOError:
            kept += 1
        except OSError:
            pass
    return kept


def test_one_source_keeps_nobody_else_out(edge: Edge) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(edge.idle("127.0.0.3")) for _ in range(edge.per_source + 300)]
        # the last ones are judged a moment later
        eventually(lambda: alive(held) <= edge.per_source)
        assert alive(held) == edge.per_source
        assert not edge.answers(EXTERNAL, "127.0.0.3")
        assert edge.answers(EXTERNAL, "127.0.0.4")
        assert edge.answers(INTERNAL, "127.0.0.3"), "the region's own address has no limit of its own"
    eventually(lambda: edge.answers(EXTERNAL, "127.0.0.3"))


def test_all_sources_together_leave_room_for_the_region(edge: Edge) -> None:
    with ExitStack() as stack:
        sources = edge.total // 500 + 2
        held = [stack.enter_context(edge.idle(f"127.0.1.{n + 1}")) for n in range(sources) for _ in range(500)]
        eventually(lambda: alive(held) <= edge.total)
        assert alive(held) == edge.total
        assert not edge.answers(EXTERNAL, "127.0.0.4")
        assert edge.answers(INTERNAL, "127.0.0.4")


OK, TOO_MANY = (200, None), (429, "10")


def test_one_source_tries_few_passwords(edge: Edge) -> None:
    guesses = edge.post("/v3/auth/tokens", "127.0.0.3", times=edge.logins + 5)
    assert guesses == [OK] * edge.logins + [TOO_MANY] * 5
    others = [
        "/v3/auth/%74okens",
        "/v3//AUTH/./tokens/",
        "/v3/ec2tokens",
        "/v3/users/u1/%70assword",
        "/v3/auth/tokens?x",
    ]
    assert [edge.post(path, "127.0.0.3") for path in others] == [[TOO_MANY]] * len(others)
    assert edge.post("/v3/projects", "127.0.0.3") == [OK], "everything else goes on"
    assert edge.answers(EXTERNAL, "127.0.0.3")


def test_other_sources_and_the_region_log_in_meanwhile(edge: Edge) -> None:
    edge.post("/v3/auth/tokens", "127.0.0.3", times=edge.logins)
    assert edge.post("/v3/auth/tokens", "127.0.0.3") == [TOO_MANY]
    assert edge.post("/v3/auth/tokens", "127.0.0.4") == [OK]
    assert edge.post("/v3/auth/tokens", "127.0.0.3", INTERNAL, times=edge.logins + 5) == [OK] * (edge.logins + 5)


def test_the_dashboard_has_the_limit_too() -> None:
    made = dummy_region("testbed")
    files = resolve.resolve(made, next(iter(made.inventory.hosts)), {"haproxy"}).files.values()
    sections = next(f.content for f in files if f.name == "haproxy.cfg").split("\nlisten ")
    limited = {s.split()[0]: next(x for x in s.splitlines() if "acl login" in x) for s in sections if "acl login" in s}
    assert limited.keys() == {"identity", "dashboard"}
    assert limited["dashboard"].endswith(" auth/login")
