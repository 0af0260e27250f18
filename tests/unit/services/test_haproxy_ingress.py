# SPDX-License-Identifier: Apache-2.0
"""HTTP between hosts is TLS that only load balancers speak, and no request fails while a region changes to it: with
real HAProxies on loopback and the rendered configuration."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.live_haproxy import needs_haproxy
from tests.support.live_ingress import HOSTS, Site, Traffic, management, own, request, wait

pytestmark = needs_haproxy


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tmp_path.chmod(0o755)
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@pytest.fixture
def current(site: Site) -> Site:
    """All of this scs: processes on loopback, an ingress each, the load balancer."""
    for host in HOSTS:
        site.process(host, own(host))
        site.ingress(host)
    site.balance()
    wait(lambda: all(site.balancer.up("identity")[h] for h in HOSTS))
    return site


def settled(site: Site) -> None:
    wait(lambda: all(site.balancer.up("identity")[h] for h in HOSTS))
    time.sleep(1)


def test_a_region_changes_to_tls_without_a_failed_request(site: Site) -> None:
    for host in HOSTS:
        site.process(host, management(host))
    earlier = "\n".join(f"  server {h} {management(h)}:{site.process_port} check" for h in HOSTS)
    site.balance(earlier)
    settled(site)
    with Traffic(site.front) as traffic:
        # one `scs apply`: ingresses on every host, the load balancers' reload, then one host's process after the other
        for host in HOSTS:
            site.ingress(host)
        # their health check passes only then
        time.sleep(3)
        traffic.more()
        site.balancer.write(site.configuration())
        site.balancer.reload()
        traffic.more(100)
        for host in HOSTS:
            site.drain(host)
            site.processes[host].kill()
            time.sleep(0.5)
            site.process(host, own(host))
            site.use(host)
        settled(site)
        traffic.more()
    assert traffic.failed == []
    # the last one gets few requests at first
    wait(lambda: {request(site.front, "GET", "/v3")[1] for _ in range(30)} == set(HOSTS))


def test_an_ingress_takes_new_files_and_is_replaced_without_a_failed_request(current: Site) -> None:
    with Traffic(current.front) as traffic:
        for ingress in current.ingresses.values():
            ingress.reload()
        time.sleep(1)
        current.drain("ha-2")
        current.ingresses["ha-2"].stop()
        current.ingresses["ha-2"].restart()
        current.use("ha-2")
        settled(current)
        traffic.more()
    assert traffic.failed == []


def test_a_killed_ingress_takes_only_what_is_in_flight(current: Site) -> None:
    with Traffic(current.front, threads=2) as traffic:
        time.sleep(1)
        current.ingresses["ha-2"].kill()
        traffic.more(100)
        current.ingresses["ha-2"].restart()
        settled(current)
    assert len(traffic.failed) <= 2, "each client has one request in flight"


def test_a_killed_process_takes_only_what_is_in_flight(current: Site) -> None:
    """Also one that comes before anybody noticed waits: the process is back in seconds, as Docker restarts it."""
    with Traffic(current.front, threads=2) as traffic:
        time.sleep(1)
        current.processes["ha-3"].kill()
        time.sleep(1.5)
        current.process("ha-3", own("ha-3"))
        settled(current)
        traffic.more()
    assert len(traffic.failed) <= 2


def test_an_order_is_sent_to_another_host_while_a_process_is_down(current: Site) -> None:
    current.processes["ha-2"].kill()
    current.processes["ha-3"].kill()
    time.sleep(1.5)
    assert [request(current.front, "POST", "/v3")[0] for _ in range(20)] == [200] * 20


def test_processes_that_all_fail_their_check_are_asked_anyway(current: Site) -> None:
    """Overloaded, they do: with none in use, every request failed until the load was gone."""
    with Traffic(current.front) as traffic:
        for process in current.processes.values():
            process.sick = True
        wait(lambda: not any(current.balancer.up("identity").values()))
        traffic.more(100)
        answered = {request(current.front, "GET", "/v3")[1] for _ in range(30)}
        current.processes["ha-1"].sick = False
        wait(lambda: current.balancer.up("identity")["ha-1"])
        traffic.more()
    assert traffic.failed == []
    assert answered == set(HOSTS)
    assert {request(current.front, "GET", "/v3")[1] for _ in range(30)} == {"ha-1"}, "checked ones come first"


def test_without_a_working_process_a_request_fails(current: Site) -> None:
    for process in current.processes.values():
        process.kill()
    wait(lambda: not any(current.balancer.up("identity").values()))
    assert request(current.front, "GET", "/v3")[0] == 503


def test_load_balancers_only_get_in(current: Site) -> None:
    place = (management("ha-2"), current.ingress_port)
    with socket.create_connection(place, timeout=5) as plain:
        plain.sendall(b"GET /v3 HTTP/1.0\r\n\r\n")
        assert b"ha-2" not in plain.recv(4096)
    current.pair(current.folder / "stranger", "api_ingress", "ha-3")
    for certificate in (None, current.folder / "stranger"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            socket.create_connection(place, timeout=5) as raw,
            context.wrap_socket(raw) as secure,
        ):
            secure.sendall(b"GET /v3 HTTP/1.0\r\n\r\n")
            assert secure.recv(4096) == b"never"
    for host in HOSTS:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((management(host), current.process_port), timeout=5)


def test_uploads_and_addresses_arrive(current: Site) -> None:
    current.drain("ha-1")
    current.drain("ha-3")
    assert request(current.front, "POST", "/v3", b"x" * 30_000_000) == (200, "ha-2")
    assert ("/v3", "127.0.0.1") in current.processes["ha-2"].requests


def test_what_an_ingress_has_begun_ends_well_when_it_stops(current: Site) -> None:
    current.drain("ha-1")
    current.drain("ha-3")
    current.processes["ha-2"].pause = 2
    answers: list[tuple[int, str]] = []
    slow = threading.Thread(target=lambda: answers.append(request(current.front, "POST", "/slow")))
    slow.start()
    time.sleep(0.5)
    current.ingresses["ha-2"].stop()
    slow.join(10)
    assert answers == [(200, "ha-2")]
