# SPDX-License-Identifier: Apache-2.0
"""The prober during a run: a real process against a region that responds, fails, and loses its run."""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scs_deploy.engine.events import Event, ProbeResult
from scs_deploy.prober import watch
from scs_deploy.prober.client import Client
from scs_deploy.prober.https import ApiError, Https, say
from scs_deploy.prober.icmp import Ping
from scs_deploy.prober.model import Target
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region.region import Region
from scs_deploy.state.measurement import percentile
from scs_deploy.state.runs import RunStore
from tests.support.fake_region import NAME, FakeRegion, serving
from tests.support.peer_hosts import eventually


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[FakeRegion, Path]]:
    with serving(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [([], 99, 0.0), ([5.0], 50, 5.0), ([1.0, 2.0, 3.0, 4.0], 50, 2.0), (list(range(1, 101)), 99, 99), ([1, 9], 99, 9)],
)
def test_percentile_is_an_observed_value(values: list[float], percent: float, found: float) -> None:
    assert percentile(values, percent) == found


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (TimeoutError("timed out"), "timeout"),
        (ConnectionResetError(104, "reset"), "connection closed"),
        (http.client.RemoteDisconnected("without response"), "connection closed"),
        (ssl.SSLEOFError(8, "EOF"), "connection closed"),
        (OSError(113, "No route to host"), "no route to host"),
        (socket.gaierror(-2, "Name or service not known"), "name not resolved"),
        (ApiError(503, "whatever the body says"), "HTTP 503"),
        (http.client.BadStatusLine("xyz"), "BadStatusLine: xyz"),
    ],
)
def test_kinds_of_failures_have_distinct_texts(error: Exception, text: str) -> None:
    assert say(error) == text


def test_connections_are_reused_and_renewed(served: tuple[FakeRegion, Path]) -> None:
    region, ca = served
    client = Client(region.job(ca))
    client.discover()
    before = len(region.connections)
    target = client.job.targets[0]
    for _ in range(20):
        client.list(target)
    assert 2 <= len(region.connections) - before <= 3


def test_a_resource_has_the_attributes_that_its_service_requires(served: tuple[FakeRegion, Path]) -> None:
    region, ca = served
    client = Client(region.job(ca))
    client.discover()
    target = client.job.targets[0].model_copy(update={"body": {"tags": ["a"]}})
    client.write(target, lambda request: request())
    assert region.wanted == {"name": "scs-prober", "tags": ["a"]}
    region.projects["old"] = "scs-prober"
    assert client.clean(target) == 1
    assert region.projects == {}


def test_a_resource_without_an_id_is_found_by_its_url(
    served: tuple[FakeRegion, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Barbican answers: the URL of what was made, and lists of such."""
    region, ca = served
    client = Client(region.job(ca))
    client.urls = {"key-manager": "https://keys.example"}
    stored: dict[str, str] = {}

    def ask(method: str, url: str, body: dict[str, str] | None = None) -> dict[str, object]:
        reference = f"{client.urls['key-manager']}/v1/secrets/s{len(stored)}"
        if method == "POST" and body:
            stored[reference] = body["name"]
            return {"secret_ref": reference}
        if method == "DELETE":
            del stored[url]
        elif url.endswith("/v1/secrets?name=scs-prober"):
            return {"secrets": [{"secret_ref": r, "name": n} for r, n in stored.items()]}
        else:
            assert url in stored
        return {}

    monkeypatch.setattr(client, "_ask", ask)
    target = Target(name="key-manager", list="/v1/secrets", create="/v1/secrets", reference="secret_ref")
    client.write(target, lambda request: request())
    assert stored == {}
    ask("POST", "", {"name": "scs-prober"})
    assert client.clean(target) == 1
    assert stored == {}


def test_a_certificate_of_another_ca_is_a_failure(served: tuple[FakeRegion, Path], tmp_path: Path) -> None:
    region, _ = served
    (tmp_path / "other").mkdir()
    with serving(tmp_path / "other") as (_, other):
        https = Https(other, addresses={NAME: "127.0.0.1"})
        with pytest.raises(ssl.SSLCertVerificationError) as error:
            https("GET", f"https://{NAME}:{region.port}/v3/services")
    assert say(error.value).startswith("TLS: ")


def test_a_run_is_measured_and_no_resources_are_left(served: tuple[FakeRegion, Path], tmp_path: Path) -> None:
    region, ca = served
    region.projects["old"] = "scs-prober"
    store = RunStore(tmp_path / "runs.sqlite3")
    record = store.start("scs apply")
    events: list[Event] = []
    paused: list[str] = []
    job = region.job(ca)
    with watch.watching(job, ProbeOptions(max_failed=2), record, events.append, paused.append):
        eventually(lambda: region.requests.count("GET /services") > 3)
        assert "old" not in region.projects
        assert not paused
        region.status = 503
        eventually(lambda: paused)
    assert "requests failed, 2 allowed (identity list: HTTP 503 x" in paused[0]
    found = {s.kind: s for s in store.probes(record.id)}
    assert found["token"].failed == 0 < found["token"].requests
    assert found["identity list"].errors.keys() == {"HTTP 503"}
    assert found["identity list"].gap.seconds > 1
    assert (found["identity write"].requests, found["identity write"].failed) == (3, 0)
    assert isinstance(events[-1], ProbeResult)
    assert region.projects == {}


def test_an_unresponsive_region_is_not_measured(served: tuple[FakeRegion, Path], tmp_path: Path) -> None:
    region, ca = served
    job = region.job(ca, password="wrong")
    said: list[str] = []
    store = RunStore(tmp_path / "runs.sqlite3")
    record = store.start("scs apply")
    with watch.watching(job, ProbeOptions(max_failed=0), record, lambda event: said.append(str(event)), said.append):
        pass
    assert "nothing is measured: Keystone did not respond before the run: HTTP 401" in said[-1]
    assert store.probes(record.id) == []


def test_a_service_that_failed_before_the_run_is_not_measured(served: tuple[FakeRegion, Path], tmp_path: Path) -> None:
    region, ca = served
    region.status = 500
    said: list[str] = []
    store = RunStore(tmp_path / "runs.sqlite3")
    record = store.start("scs apply")
    with watch.watching(region.job(ca), ProbeOptions(), record, lambda event: said.append(str(event)), said.append):
        eventually(lambda: region.requests.count("POST /auth/tokens") > 2)
    assert any("identity is not measured: HTTP 500" in s for s in said)
    assert [s.kind for s in store.probes(record.id)] == ["token"]


def test_the_prober_of_a_killed_run_removes_its_resources(served: tuple[FakeRegion, Path], tmp_path: Path) -> None:
    region, ca = served
    region.keep.clear()
    code = f"""
        import time
        from pathlib import Path
        from scs_deploy.prober import watch
        from scs_deploy.prober.model import ProbeJob
        from scs_deploy.state.runs import RunStore
        record = RunStore(Path({str(tmp_path / "runs.sqlite3")!r})).start("scs apply")
        job = ProbeJob.model_validate_json({region.job(ca).model_dump_json()!r})
        with watch.watching(job, watch.ProbeOptions(), record, lambda *a: None, print):
            time.sleep(60)
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "MARK": str(ca.parent)})
    try:
        assert region.made.wait(20)
        assert region.projects
        assert _probers(ca)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    region.keep.set()
    eventually(lambda: not region.projects)
    eventually(lambda: not _probers(ca))


def test_a_prober_waits_for_the_prober_of_an_earlier_run(served: tuple[FakeRegion, Path], tmp_path: Path) -> None:
    region, ca = served
    job = region.job(ca).model_copy(update={"lock": tmp_path / "prober.lock"})
    record = RunStore(tmp_path / "runs.sqlite3").start("scs apply")
    asked: list[int] = []
    with (tmp_path / "prober.lock").open("a") as earlier:
        fcntl.flock(earlier, fcntl.LOCK_EX)

        def end() -> None:
            asked.append(len(region.requests))
            fcntl.flock(earlier, fcntl.LOCK_UN)

        threading.Timer(2, end).start()
        with watch.watching(job, ProbeOptions(), record, lambda *a: None, print):
            eventually(lambda: region.requests.count("POST /auth/tokens") > 1)
    assert asked == [0]


def _probers(ca: Path) -> list[int]:
    """Probers of this test, recognised by their environment."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdecimal() else []
            if b"scs_deploy.prober" in words and (process / "environ").read_bytes().count(str(ca.parent).encode()):
                found.append(int(process.name))
    return found


def test_ping() -> None:
    try:
        Ping("127.0.0.1")()
    except PermissionError:
        pytest.skip("this user may not open ICMP sockets")


def test_every_public_api_of_the_catalog_is_measured(testbed: Region) -> None:
    job = watch.probe_job(testbed)
    catalogued = {t.name for t in job.targets if not t.url}
    assert catalogued == {
        name
        for service in testbed.catalog.services.values()
        for name, endpoint in service.endpoints.items()
        if endpoint.public and endpoint.catalogue and endpoint.protocol == "http"
    }
    rate = len(job.targets) / job.interval + 0.5
    assert rate <= 6
    assert "dummy-keystone-admin-password" not in repr(job)
