# SPDX-License-Identifier: Apache-2.0
"""From a container's file to `scs logs`: the shipper, a real HAProxy with the rendered configuration, a real store."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import log_shipper
import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.desired import resolve
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Wanted
from scs_deploy.shared import log_store
from scs_deploy.shared.log_store import LogStore, Search
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_haproxy import docker, needs_haproxy
from tests.support.live_ingress import Proxy
from tests.support.peer_hosts import eventually, free_port

IMAGE = "scs/victorialogs:2025.1"
pytestmark = [needs_haproxy, needs(IMAGE)]

REQUEST = "req-7db7fb16-fc02-4505-82df-54b210c649ac"
REGION = dummy_region("testbed-ha")


class Stores:
    """A store behind its ingress, and a host that sends to it."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.name = f"scs-test-logs-{uuid.uuid4().hex[:8]}"
        self.port, self.door = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.authorities = {n: issuing.new_ca(f"test {n}") for n in ("victorialogs", "log_writer", "galera")}
        for name, group, host in (
            ("host", "victorialogs", ""), ("writer", "log_writer", "ha-3"), ("other", "galera", "ha-3"),
        ):  # fmt: skip
            wanted = Wanted(names=(host or "127.0.0.1",), group=group, server=not host, client=bool(host))
            leaf = issuing.issue(self.authorities[group], wanted)
            (folder / f"{name}.crt").write_text(leaf.cert)
            (folder / f"{name}.key").write_text(leaf.key)
        (folder / "ca.crt").write_text(self.authorities["log_writer"].cert)
        there = REGION.inventory.hosts["ha-1"]
        files = resolve.resolve(REGION, "ha-1", {"victorialogs"}).files.values()
        text = next(f.content for f in files if f.name == "logs.cfg")
        text = text.replace(f"bind {there.management}:9428", f"bind 127.0.0.1:{self.door}")
        text = text.replace("127.0.0.1:9428", f"127.0.0.1:{self.port}")
        self.proxy = Proxy(folder, text.replace("/etc/scs/tls/", f"{folder}/").replace("/run/ingress/", f"{folder}/"))
        self.start()

    def start(self) -> None:
        docker(
            "run", "--detach", "--name", self.name, "--network", "host", "--tmpfs", "/var/lib/victorialogs",
            "--entrypoint", "victoria-logs", IMAGE, f"-httpListenAddr=127.0.0.1:{self.port}",
            "-storageDataPath=/var/lib/victorialogs", "-storage.minFreeDiskSpaceBytes=1MB",
        )  # fmt: skip

    def context(self, name: str) -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=self.authorities["victorialogs"].cert)
        made.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return made

    def post(self, path: str, name: str = "writer", method: str = "POST", **headers: str) -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", self.door, timeout=20, context=self.context(name))
        try:
            now = datetime.now(UTC).isoformat()
            row = {"_time": now, "host": "ha-1", "service": "nova", "container": "nova_api", "_msg": "forged"}
            connection.request(method, path, json.dumps(row).encode() if method == "POST" else None, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def run(self, host: str, container: str, argv: tuple[str, ...]) -> tuple[int, str]:
        assert container == "victorialogs"
        if host == "ha-2":
            return 1, "Error: No such container: victorialogs"
        done = subprocess.run(["docker", "exec", self.name, *argv], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    made = Stores(tmp_path_factory.mktemp("logs"))
    yield made
    made.proxy.remove()
    docker("rm", "--force", "--volumes", made.name)


@pytest.fixture
def find(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    monkeypatch.setattr(log_store, "QUERY", f"http://127.0.0.1:{stores.port}/select/logsql/query")
    made = LogStore(REGION, stores.run)

    def texts(expected: int, **search: Any) -> list[str]:
        found: list[str] = []

        def look() -> bool:
            found[:] = [line.text for line in made.find(Search(**search))]
            return len(found) >= expected

        eventually(look)
        return found

    return texts


@pytest.fixture
def host(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> log_shipper.Store:
    monkeypatch.setattr(log_shipper, "context", lambda: stores.context("writer"))
    (tmp_path / "containers").mkdir()
    settings = {"state": str(tmp_path), "containers": str(tmp_path / "containers"), "journals": []}
    return log_shipper.Store("ha-1", ["127.0.0.1", stores.door], settings)


def write(folder: Path, container: str, *texts: str) -> None:
    own = folder / "containers" / container
    own.mkdir(exist_ok=True)
    labels = {"scs.container": container, "scs.service": container.partition("_")[0]}
    (own / "config.v2.json").write_text(json.dumps({"Name": f"/{container}", "Config": {"Labels": labels}}))
    with (own / f"{container}-json.log").open("a") as stream:
        for number, text in enumerate(texts):
            time = datetime.now(UTC) + timedelta(microseconds=number)
            stream.write(json.dumps({"log": text + "\n", "time": f"{time:%Y-%m-%dT%H:%M:%S.%f}000Z"}) + "\n")


def test_a_request_is_followed_through_all_services(
    host: log_shipper.Store, find: Callable[..., list[str]], tmp_path: Path
) -> None:
    nova = f"2026-12-01 06:50:14.732 8 ERROR nova.api [None {REQUEST} u p - -] no host (found 3*)"
    write(tmp_path, "nova_api", nova, "2026-12-01 06:50:14.733 8 INFO nova.api [-] quiet")
    write(tmp_path, "neutron_api", f'10.0.0.1 "GET /v2.0/ports" {REQUEST}')
    assert not host.step()
    assert len(find(2, request=REQUEST)) == 2
    assert find(1, request=REQUEST, service="nova") == [nova]
    assert find(1, levels=("error", "critical")) == [nova]
    assert find(1, grep=r"no host \(found \d\*\)", container="nova_api") == [nova]
    assert find(2, container="nova_api", lines=2)[-1].endswith("quiet")
    assert find(1, container="nova_api", lines=1, until=datetime.now(UTC)) == [
        "2026-12-01 06:50:14.733 8 INFO nova.api [-] quiet"
    ]
    assert find(0, since=datetime.now(UTC)) == []
    # the certificate says where a line is from
    assert len(find(3, host="ha-3")) == 3


def test_lines_wait_for_a_store_that_is_away(
    host: log_shipper.Store, stores: Stores, find: Callable[..., list[str]], tmp_path: Path
) -> None:
    write(tmp_path, "glance_api", *(f"line {n}" for n in range(3000)))
    docker("stop", stores.name)
    with pytest.raises(OSError, match="ha-1"):
        host.step()
    host.forget()
    write(tmp_path, "glance_api", "the last one")
    docker("start", stores.name)
    eventually(
        lambda: stores.run("ha-1", "victorialogs", ("curl", "-fsS", f"http://127.0.0.1:{stores.port}/health"))[0] == 0
    )
    eventually(lambda: stores.post("/insert/jsonline") == 200)
    while host.step():
        pass
    found = find(3001, container="glance_api")
    assert sorted(found) == sorted([*(f"line {n}" for n in range(3000)), "the last one"])
    # a new process knows how far it was
    again = log_shipper.Store("ha-1", ["127.0.0.1", stores.door], {
        "state": str(tmp_path), "containers": str(tmp_path / "containers"), "journals": [],
    })  # fmt: skip
    assert not again.step()
    assert again.sent == 0
    assert 'scs_logs_sent_total{store="ha-1"} 0' in log_shipper.metrics([again])


def test_writers_write_and_do_nothing_else(stores: Stores, find: Callable[..., list[str]]) -> None:
    assert (
        stores.post("/insert/jsonline?extra_fields=host=ha-2&_stream_fields=a", **{"VL-Extra-Fields": "host=ha-2"})
        == 200
    )
    assert "forged" in find(1, host="ha-3", grep="forged")
    assert find(0, host="ha-1") == find(0, host="ha-2") == []
    for method, path in (
        ("GET", "/select/logsql/query?query=*"), ("GET", "/insert/jsonline"), ("POST", "/select/logsql/query"),
        ("POST", "/internal/force_merge"), ("POST", "/insert/jsonline/../../delete/run_task"), ("GET", "/metrics"),
    ):  # fmt: skip
        assert stores.post(path, method=method) == 403, path
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        stores.post("/insert/jsonline", "other")


def test_a_search_that_the_store_refuses_says_why(stores: Stores, find: Callable[..., list[str]]) -> None:
    with pytest.raises(ScsError, match=r"the log store refuses the search: .*regexp"):
        find(1, grep="(?<=a)b")
