# SPDX-License-Identifier: Apache-2.0
"""A container with uWSGI is stopped, and finishes the request that it works on: the rendered file, a real engine."""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually, free_port

IMAGE = "scs/keystone:2025.1"
APPLICATION = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"whole answer"]
"""

pytestmark = needs(IMAGE)


def ask(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


@pytest.fixture
def running(testbed: Region, tmp_path: Path) -> Iterator[tuple[str, int]]:
    desired = resolve.resolve(testbed, "testbed-1", {"keystone"})
    run = desired.containers["keystone"]
    port = free_port("127.0.0.1")
    ini = desired.files["/etc/scs/keystone/uwsgi.ini"].content
    ini = ini.replace(f"http-socket = {run.address}:5000", f"http-socket = 127.0.0.1:{port}")
    ini = ini.replace("/usr/bin/keystone-wsgi-public", "/application.py")
    assert str(port) in ini and "/application.py" in ini
    (tmp_path / "uwsgi.ini").write_text(ini)
    (tmp_path / "application.py").write_text(APPLICATION)
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    name = f"scs-test-uwsgi-{uuid.uuid4().hex[:8]}"
    environment = [w for e in run.body["Env"] for w in ("--env", e)]
    docker(
        "run", "--detach", "--name", name, "--network", "host", *environment,
        "--stop-signal", run.body["StopSignal"], "--stop-timeout", str(run.body["StopTimeout"]),
        "--volume", f"{tmp_path}/uwsgi.ini:/uwsgi.ini:ro", "--volume", f"{tmp_path}/application.py:/application.py:ro",
        IMAGE, "uwsgi_python3", "--ini", "/uwsgi.ini",
    )  # fmt: skip
    try:
        yield name, port
    finally:
        docker("rm", "--force", "--volumes", name)


def test_stopping_finishes_requests(running: tuple[str, int]) -> None:
    name, port = running
    eventually(lambda: ask(port, "/") == "whole answer")
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(ask(port, "/slow"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    begin = time.monotonic()
    docker("stop", name)
    took = time.monotonic() - begin
    for thread in threads:
        thread.join(20)
    assert got == ["whole answer"] * 3
    assert took < 20
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
