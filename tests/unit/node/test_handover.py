# SPDX-License-Identifier: Apache-2.0
"""HAProxy is replaced by another container, and no connection is refused: the module against a real engine."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support import node_modules
from tests.support.live_haproxy import IMAGE, Balancer, Web, answers, ask, balancing, docker, needs_haproxy
from tests.support.peer_hosts import eventually, free_port

pytestmark = needs_haproxy

UP = "echo show info | nc -N -U -w 5 /run/scs/haproxy/admin.sock | grep -q ^Uptime_sec:"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Balancer, dict[str, Web]]]:
    with balancing(tmp_path) as found:
        yield found


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = node_modules.containers(monkeypatch, tmp_path)
    monkeypatch.setattr(module.haproxy, "SOCKET", str(tmp_path / "admin.sock"))
    monkeypatch.setattr(module.haproxy, "SERVERS", str(tmp_path / "servers"))
    return module


def spec(balancer: Balancer, config: str = "haproxy.cfg") -> dict[str, Any]:
    """As the action plugin makes it, with this test's folder."""
    command = ["haproxy", "-W", "-db", "-x", "/run/scs/haproxy/admin.sock", "-f", f"/run/scs/haproxy/{config}"]
    host = {
        "NetworkMode": "host",
        "Binds": [f"{balancer.folder}:/run/scs/haproxy"],
        "RestartPolicy": {"Name": "unless-stopped"},
    }
    return {
        "container": balancer.names[-1], "action": "replace", "roll": {"handover": True, "timeout": 20},
        "body": {"Image": IMAGE, "Cmd": command, "HostConfig": host},
        "health": {"command": ["sh", "-c", UP], "timeout": 20},
    }  # fmt: skip


def run(module: ModuleType, action: dict[str, Any], roller: Any = None) -> None:
    """Have the module carry out one action."""
    module.run(roller or module.Roller(), [module.Action.read(action)])


class Load:
    """Requests one after the other, each on a new connection."""

    def __init__(self, port: int) -> None:
        self.port, self.done, self.failed = port, 0, [""]
        self.failed.clear()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.over.is_set():
            try:
                ask(self.port, timeout=5)
                self.done += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failed.append(repr(error))
            time.sleep(0.005)

    def __enter__(self) -> Load:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(10)


def test_no_request_fails_while_haproxy_is_replaced(live: tuple[Balancer, dict[str, Web]], module: ModuleType) -> None:
    balancer, servers = live
    port, name = balancer.ports["many"], balancer.names[-1]
    before = docker("inspect", "--format", "{{.Id}}", name)
    roller = module.Roller()
    got: list[str] = []
    slow = threading.Thread(target=lambda: got.append(ask(port, "/slow")))
    slow.start()
    eventually(lambda: any(w.busy.is_set() for w in servers.values()))
    with Load(port) as load:
        time.sleep(0.3)
        replaced = threading.Thread(target=lambda: run(module, spec(balancer), roller))
        replaced.start()
        eventually(lambda: docker("ps", "--quiet", "--no-trunc", "--filter", f"name=^{name}$") not in ("", before))
        time.sleep(2)
        for web in servers.values():
            web.release.set()
        replaced.join(60)
        time.sleep(0.3)
    slow.join(10)
    assert got and got[0] in servers
    assert load.failed == []
    assert load.done > 100
    assert docker("inspect", "--format", "{{.Id}}", name) != before
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}_leaving") == ""
    assert roller.done == [f"replace {name}"]


class Echo:
    """A TCP server that answers each line, and a client with a session through HAProxy's `tcp`."""

    def __init__(self) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(line)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


def say(client: socket.socket) -> bool:
    """Whether the session lives."""
    try:
        client.sendall(b"hello\n")
        return client.recv(100) == b"hello\n"
    except OSError:
        return False


def test_long_sessions_end_while_they_are_idle(live: tuple[Balancer, dict[str, Web]], module: ModuleType) -> None:
    """As those of services with their database: at the limit they would be cut in the middle of a statement."""
    balancer, _ = live
    echo = Echo()
    server = f"127.0.0.1:{echo.port}"
    file = balancer.folder / "haproxy.cfg"
    port = free_port("127.0.0.1")
    file.write_text(file.read_text() + f"listen long\n  bind 127.0.0.1:{port}\n  mode tcp\n  server s {server}\n")
    # a first replacement, for the new configuration
    run(module, spec(balancer))
    idle, busy = (socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(2))
    assert say(idle) and say(busy)
    seen: list[bool] = []
    replaced = threading.Thread(
        target=lambda: run(module, spec(balancer) | {"servers": [server], "roll": {"handover": True, "timeout": 60}})
    )
    begin = time.monotonic()
    replaced.start()
    while time.monotonic() < begin + 8:
        seen.append(say(busy))
        time.sleep(0.1)
    assert all(seen), "a session that is at work goes on"
    assert replaced.is_alive()
    assert not say(idle), "one that does nothing has ended"
    # and the other one as soon as it does nothing
    replaced.join(20)
    assert not replaced.is_alive()
    assert not say(busy)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as new:
        assert say(new)
    echo.server.shutdown()
    echo.server.server_close()


@pytest.mark.parametrize("action", ["create", "replace", "start"])
def test_a_handover_that_was_interrupted_is_made_anew(
    live: tuple[Balancer, dict[str, Web]], module: ModuleType, action: str
) -> None:
    """Its module was killed: before the successor's creation, after its start, before its start."""
    balancer, _ = live
    name = balancer.names[-1]
    before = docker("inspect", "--format", "{{.Id}}", name)
    roller = module.Roller()
    given = spec(balancer)
    roller.engine.restart_policy(name, "no")
    roller.engine.rename(name, f"{name}_leaving")
    if action != "create":
        roller.engine.create(name, given["body"])
    if action == "replace":
        time.sleep(1.1)
        roller.engine.start(name)
        eventually(lambda: roller.engine.execute(name, given["health"]["command"])[0] == 0)
    with Load(balancer.ports["many"]) as load:
        run(module, given | {"action": action}, roller)
        time.sleep(0.3)
    assert load.failed == []
    assert load.done > 10
    now = docker("inspect", "--format", "{{.Id}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", name)
    assert now.split()[0] != before
    assert now.split()[1:] == ["true", "unless-stopped"]
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}_leaving") == ""


def test_one_that_does_not_start_leaves_the_old_one_at_work(
    live: tuple[Balancer, dict[str, Web]], module: ModuleType
) -> None:
    balancer, _ = live
    name = balancer.names[-1]
    before = docker("inspect", "--format", "{{.Id}}", name)
    (balancer.folder / "wrong.cfg").write_text(f"listen {uuid.uuid4().hex}\n  no such keyword\n")
    with Load(balancer.ports["many"]) as load, pytest.raises(module.EngineError, match="unknown keyword 'such'"):
        run(module, spec(balancer, "wrong.cfg"))
    assert load.failed == []
    assert (
        docker("inspect", "--format", "{{.Id}} {{.HostConfig.RestartPolicy.Name}}", name) == f"{before} unless-stopped"
    )


def test_one_that_cannot_hand_over_yet_is_replaced_too(tmp_path: Path, module: ModuleType) -> None:
    """A HAProxy from before its configuration had `expose-fd listeners`: the new one binds beside it."""
    with balancing(tmp_path, expose="") as (balancer, _):
        name = balancer.names[-1]
        before = docker("inspect", "--format", "{{.Id}}", name)
        with Load(balancer.ports["many"]) as load:
            run(module, spec(balancer))
            time.sleep(0.3)
        assert docker("inspect", "--format", "{{.Id}}", name) != before
        assert answers(balancer.ports["many"])
        assert len(load.failed) <= load.done // 50


def test_it_starts_alone_where_there_is_no_old_one(live: tuple[Balancer, dict[str, Web]], module: ModuleType) -> None:
    balancer, _ = live
    docker("kill", balancer.names[-1])
    assert not answers(balancer.ports["many"])
    run(module, spec(balancer))
    eventually(lambda: answers(balancer.ports["many"]))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Of a container that tells in its folder when it begins, and when it takes back what it holds."""
    name = f"scs-test-{uuid.uuid4().hex[:8]}"
    script = "echo $$ >> /here/began; trap 'touch /here/released; exit' TERM; while :; do sleep 0.05; done"
    body = {
        "Image": IMAGE, "Entrypoint": ["sh", "-c", script], "Cmd": [],
        "HostConfig": {"Binds": [f"{tmp_path}:/here"], "RestartPolicy": {"Name": "unless-stopped"}},
    }  # fmt: skip
    yield {
        "container": name, "action": "replace", "body": body, "roll": {"stay": str(tmp_path / "stay")},
        "health": {"command": ["sh", "-c", "test -s /here/began"], "timeout": 20},
    }  # fmt: skip
    for left in docker("ps", "--all", "--quiet", "--filter", f"name={name}").split():
        docker("rm", "--force", left)


def running(name: str) -> str:
    return docker("inspect", "--format", "{{.Id}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}", name)


@pytest.mark.parametrize("action", ["replace", "restart"])
def test_what_a_container_holds_on_the_host_stays(
    holder: dict[str, Any], module: ModuleType, tmp_path: Path, action: str
) -> None:
    name, began = holder["container"], tmp_path / "began"
    roller = module.Roller()
    run(module, holder | {"action": "create"}, roller)
    eventually(lambda: began.exists())
    first = running(name)
    began.unlink()
    run(module, holder | {"action": action}, roller)
    eventually(lambda: began.exists())
    assert (tmp_path / "stay").exists()
    assert not (tmp_path / "released").exists()
    now = running(name)
    assert now.split()[1:] == ["true", "unless-stopped"]
    assert (now.split()[0] == first.split()[0]) == (action == "restart")
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}_leaving") == ""
    # who stops it for good means that
    run(module, holder | {"action": "stop"}, roller)
    assert (tmp_path / "released").exists()


@pytest.mark.parametrize("action", ["create", "start"])
def test_what_an_interrupted_run_left_beside_the_new_container_goes(
    holder: dict[str, Any], module: ModuleType, tmp_path: Path, action: str
) -> None:
    name = holder["container"]
    roller = module.Roller()
    run(module, holder | {"action": "create"}, roller)
    # between the new one's creation and the old one's end
    docker("rename", name, f"{name}_leaving")
    roller.engine.create(name, holder["body"])
    run(module, holder | {"action": action}, roller)
    assert running(name).split()[1] == "true"
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}_leaving") == ""
    assert (tmp_path / "stay").exists()
    assert not (tmp_path / "released").exists()


def test_the_old_container_runs_again_when_the_new_one_does_not_start(
    holder: dict[str, Any], module: ModuleType, tmp_path: Path
) -> None:
    name = holder["container"]
    run(module, holder | {"action": "create"})
    first = running(name)
    wrong = holder["body"] | {"Entrypoint": ["/no/such/program"]}
    with pytest.raises(module.EngineError, match="no such file"):
        run(module, holder | {"body": wrong})
    assert running(name) == first
    assert not (tmp_path / "released").exists()
    assert docker("ps", "--all", "--quiet", "--filter", f"name={name}_leaving") == ""
