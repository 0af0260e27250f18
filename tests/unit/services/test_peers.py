# SPDX-License-Identifier: Apache-2.0
"""The exchange between control hosts: who is served, who is believed, and that nobody can hold it up."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peer_hosts import STRANGER, Hosts, eventually, free_port

SERVER = """
import io, time
from dataclasses import replace
from pathlib import Path
import peers
def answer(method, path):
    if path == "/big":
        return peers.File(io.BytesIO(b"x" * 3_000_000), 3_000_000)
    return {{"method": method, "path": path}} if path != "/none" else None
replace(peers.Peers.read(Path(__file__).with_name("peers.json")), **{change}).serve({port}, answer)
print("ready", flush=True)
time.sleep(60)
"""
ASK = "print(own.ask('ha-1', {port}, {path!r}))"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("peers"), "testbed-ha", "keystone", {}, {})


@pytest.fixture
def hosts(shared: Hosts) -> Iterator[Hosts]:
    yield shared
    shared.stop()
    for name in shared.names:
        shared.certificate(name, f"keystone_keys/{name}")
        shared.path(name, "log").unlink(missing_ok=True)


def server(hosts: Hosts, name: str = "ha-1", **change: float) -> int:
    port = free_port(hosts.address["ha-1"])
    script = hosts.path(name, "etc", "server.py")
    script.write_text(SERVER.format(port=port, change=change))
    hosts.start(name, "server.py")
    eventually(lambda: "ready" in hosts.log(name))
    return port


def ask(hosts: Hosts, port: int, path: str = "/x", by: str = "ha-2") -> str:
    result = hosts.python(by, ASK.format(port=port, path=path))
    return result.stdout.strip() or result.stderr.strip().splitlines()[-1]


def test_members_are_answered(hosts: Hosts) -> None:
    port = server(hosts)
    assert ask(hosts, port) == "{'method': 'GET', 'path': '/x'}"
    assert ask(hosts, port, by="ha-1") == "{'method': 'GET', 'path': '/x'}"
    assert ask(hosts, port, "/none") == "None"
    code = f"with own.download('ha-1', {port}, '/big') as r: print(len(r.read()))"
    assert hosts.python("ha-3", code).stdout == "3000000\n"


@pytest.mark.parametrize("purpose", ["glance_images", "galera", "libvirt", "rabbitmq"])
def test_a_hosts_certificate_for_another_purpose_is_refused(purpose: str, hosts: Hosts) -> None:
    port = server(hosts)
    hosts.certificate("ha-2", f"{purpose}/ha-2")
    assert "HTTP status" not in (said := ask(hosts, port))
    assert "Error" in said


def test_a_certificate_of_the_group_that_is_no_control_hosts_is_refused(hosts: Hosts) -> None:
    port = server(hosts)
    hosts.certificate("ha-2", f"keystone_keys/{STRANGER}")
    assert "HTTP status 403" in ask(hosts, port)
    assert f"refused {STRANGER}" in hosts.log("ha-1")


def test_a_server_that_is_not_the_host_is_not_believed(hosts: Hosts) -> None:
    # On ha-1's address, with a certificate of the group that does not name it.
    hosts.certificate("ha-1", f"keystone_keys/{STRANGER}")
    port = server(hosts)
    assert "certificate verify failed" in ask(hosts, port)


def test_a_client_without_a_certificate_gets_nothing(hosts: Hosts) -> None:
    port = server(hosts)
    context = ssl.create_default_context(cafile=hosts.path("ha-2", "tls", "ca.crt"))
    assert talk(hosts, port, context) == b""
    context.load_cert_chain(hosts.path("ha-2", "tls", "host.crt"), hosts.path("ha-2", "tls", "host.key"))
    assert b"200 OK" in talk(hosts, port, context)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(("version", "served"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
def test_old_tls_is_refused(version: str, served: bool, hosts: Hosts) -> None:
    port = server(hosts)
    context = ssl.create_default_context(cafile=hosts.path("ha-2", "tls", "ca.crt"))
    context.load_cert_chain(hosts.path("ha-2", "tls", "host.crt"), hosts.path("ha-2", "tls", "host.key"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    assert (b"200 OK" in talk(hosts, port, context)) is served


def talk(hosts: Hosts, port: int, context: ssl.SSLContext) -> bytes:
    """What a client with this context gets; nothing when the connection breaks."""
    address = hosts.address["ha-1"]
    with socket.create_connection((address, port), timeout=5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=address) as client:
                client.sendall(b"GET /x HTTP/1.0\r\n\r\n")
                return client.recv(1000)
        except OSError:
            return b""


def test_clients_that_say_nothing_hold_up_nobody(hosts: Hosts) -> None:
    port = server(hosts, timeout=60)
    silent = [socket.create_connection((hosts.address["ha-1"], port)) for _ in range(20)]
    assert "'path': '/x'" in ask(hosts, port)
    for connection in silent:
        # it is still open: the answer did not wait until the server dropped it
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        connection.close()


def test_clients_that_say_nothing_are_dropped(hosts: Hosts) -> None:
    port = server(hosts, timeout=1)
    with socket.create_connection((hosts.address["ha-1"], port)) as silent:
        silent.settimeout(60)
        assert silent.recv(1) == b""


def test_more_connections_than_it_serves_are_turned_away_and_it_recovers(hosts: Hosts) -> None:
    port = server(hosts, timeout=2, connections=3)
    silent = [socket.create_connection((hosts.address["ha-1"], port)) for _ in range(3)]
    time.sleep(0.2)
    assert "Unreachable" in ask(hosts, port)
    time.sleep(2.5)
    assert "'path': '/x'" in ask(hosts, port)
    for connection in silent:
        connection.close()


@pytest.mark.parametrize(("listens", "error"), [(False, "peers.RefusedError"), (True, "peers.UnreachableError")])
def test_nobody_there_differs_from_no_answer(listens: bool, error: str, hosts: Hosts) -> None:
    port = free_port(hosts.address["ha-1"])
    with socket.socket() as silent:
        if listens:
            silent.bind((hosts.address["ha-1"], port))
            silent.listen()
        started = time.monotonic()
        assert ask(hosts, port).startswith(error)
        assert time.monotonic() - started < 8


def test_all_are_asked_at_the_same_time(hosts: Hosts, tmp_path: Path) -> None:
    port = free_port(hosts.address["ha-1"])
    with socket.socket() as one, socket.socket() as two:
        for listener, name in ((one, "ha-2"), (two, "ha-3")):
            listener.bind((hosts.address[name], port))
            listener.listen()
        started = time.monotonic()
        result = hosts.python("ha-1", f"print(sorted(own.ask_all({port}, '/x')))")
        assert result.stdout == "['ha-2', 'ha-3']\n"
        assert time.monotonic() - started < 6
