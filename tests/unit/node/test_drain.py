# SPDX-License-Identifier: Apache-2.0
"""A server leaves a real HAProxy and comes back, and no request notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import node_modules
from tests.support.live_haproxy import Balancer, Web, ask, balancing, needs_haproxy

pytestmark = needs_haproxy


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Balancer, dict[str, Web]]]:
    with balancing(tmp_path) as found:
        yield found


@pytest.fixture
def balancer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = node_modules.load(monkeypatch, "balancer")
    monkeypatch.setattr(module.haproxy, "SOCKET", str(tmp_path / "admin.sock"))
    return module


def slow(port: int, into: list[str]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.append(ask(port, "/slow")))
    thread.start()
    return thread


def test_requests_under_way_finish_and_new_ones_go_elsewhere(
    live: tuple[Balancer, dict[str, Web]], balancer: ModuleType
) -> None:
    haproxy, servers = live
    port = haproxy.ports["many"]
    assert {ask(port) for _ in range(4)} == {"a", "b"}
    got: list[str] = []
    threads = [slow(port, got) for _ in range(2)]
    assert servers["a"].busy.wait(10)
    assert balancer.set_states("a", {"many": "drain"}) == ["many", "many_unchecked"]
    assert [ask(port) for _ in range(6)] == ["b"] * 6
    assert balancer.sessions("a", ["many"]) == {"many": 1}
    for web in servers.values():
        web.release.set()
    for thread in threads:
        thread.join(10)
    assert sorted(got) == ["a", "b"]
    assert balancer.sessions("a", ["many"]) == {}
    balancer.set_states("a", {"many": "ready"})
    assert balancer.haproxy.wait_up([("many", "a")], time.monotonic() + 10) == []
    assert {ask(port) for _ in range(4)} == {"a", "b"}


def test_the_one_server_in_use_becomes_another_one(live: tuple[Balancer, dict[str, Web]], balancer: ModuleType) -> None:
    haproxy, servers = live
    port = haproxy.ports["one"]
    assert [ask(port) for _ in range(3)] == ["a"] * 3
    got: list[str] = []
    thread = slow(port, got)
    assert servers["a"].busy.wait(10)
    balancer.set_states("a", {"one": "drain"})
    # the stick table's entry counts for more
    assert ask(port) == "a"
    assert balancer.moved("a", ["one"]) == ["one"]
    assert [ask(port) for _ in range(3)] == ["b"] * 3
    threading.Timer(1, servers["a"].release.set).start()
    # the end of that request writes its server into the table again
    assert balancer.wait_gone("a", ["one"], ["one"], time.monotonic() + 10) == {}
    thread.join(10)
    assert got == ["a"]
    assert ask(port) == "b"
    balancer.set_states("a", {"one": "ready"})
    # it does not go back by itself: that would interrupt once more
    assert ask(port) == "b"


def test_a_drained_server_is_not_asked_either_when_no_other_passes_its_check(
    live: tuple[Balancer, dict[str, Web]], balancer: ModuleType
) -> None:
    haproxy, _ = live
    port = haproxy.ports["many"]
    balancer.set_states("a", {"many": "drain"})
    balancer.haproxy.command("disable health many/b")
    balancer.haproxy.command("set server many/b health down")
    assert [ask(port) for _ in range(6)] == ["b"] * 6
    balancer.haproxy.command("set server many/b health up")


def test_the_last_server_that_works_is_told(live: tuple[Balancer, dict[str, Web]], balancer: ModuleType) -> None:
    _, servers = live
    assert balancer.alone("a", ["many", "one"]) == []
    servers["b"].close()
    end = time.monotonic() + 10
    while balancer.alone("a", ["many", "one"]) != ["many", "one"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert balancer.alone("b", ["many"]) == []
