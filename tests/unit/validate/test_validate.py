# SPDX-License-Identifier: Apache-2.0
"""Validation: order and requirements of checks, verdicts, cleanup, measurements, report formats."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from scs_deploy import validate
from scs_deploy.base import icmp
from scs_deploy.base.errors import RefusedError
from scs_deploy.validate import Report, Result, Verdict, measure
from scs_deploy.validate.checks.resources import pool
from scs_deploy.validate.console import guest_lines
from scs_deploy.validate.region import clean
from scs_deploy.validate.registry import Check, CheckFailedError, Outcome, select


class Things:
    """An API that lists resources until they are deleted."""

    def __init__(self, log: list[str], **lists: list[Any]) -> None:
        self.log, self.lists = log, lists

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in self.lists:
            return lambda **_: list(self.lists[name])
        return lambda *args, **_: self.log.append(f"{name} {getattr(args[0], 'name', args[0]) if args else ''}")


def thing(name: str, tags: tuple[str, ...] = (), **more: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"name": name, "id": f"id-{name}", "tags": list(tags), "description": "", **more})


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def cloud(log: list[str]) -> SimpleNamespace:
    old = "scs-validate-1"
    access = SimpleNamespace(service_catalog=SimpleNamespace(catalog=[{"type": "image"}]))
    return SimpleNamespace(
        session=SimpleNamespace(auth=SimpleNamespace(get_access=lambda _: access)),
        compute=Things(log, servers=[thing(old), thing("web")], flavors=[thing(old), thing("m1.small")]),
        network=Things(
            log, ips=[thing("172.30.1.130", description=old), thing("172.30.1.131")], routers=[thing(old)],
            networks=[thing("public", (old,)), thing("public-real"), thing(old)], security_groups=[thing("default")],
            ports=[thing(p, device_owner=f"network:router_{p}") for p in ("interface", "gateway")],
        ),
        image=Things(log, images=[thing(old, (old,)), thing("debian")]),
        identity=Things(log, users=[thing(old), thing("alice")], projects=[thing(old), thing("red")]),
    )  # fmt: skip


def test_cleanup_removes_only_its_own_resources_in_order(cloud: SimpleNamespace, log: list[str]) -> None:
    removed, failed = clean(cloud)
    assert not failed
    assert removed == [
        "server scs-validate-1", "floating IP 172.30.1.130", "router scs-validate-1", "network public",
        "network scs-validate-1", "flavor scs-validate-1", "image scs-validate-1", "user scs-validate-1",
        "project scs-validate-1",
    ]  # fmt: skip
    assert [entry.split()[0] for entry in log][:2] == ["delete_server", "wait_for_delete"]
    assert sum(entry.startswith("remove_interface_from_router") for entry in log) == 1


def test_cleanup_continues_after_an_error(cloud: SimpleNamespace) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("still in use\nmore")

    cloud.network.delete_router = refuse
    removed, failed = clean(cloud)
    assert failed == ["router scs-validate-1: still in use"]
    assert "image scs-validate-1" in removed


def good(_: Any) -> Outcome:
    return Outcome("fine", [0.1, 0.2])


def bad(_: Any) -> Outcome:
    raise CheckFailedError("no")


def perform(cloud: SimpleNamespace, *checks: Check, keep: bool = False) -> dict[str, Result]:
    region: Any = SimpleNamespace(cloud=cloud)
    return {r.check: r for r in validate.perform(region, checks, keep, lambda *_: None)}


def test_a_skipped_check_has_not_passed(cloud: SimpleNamespace) -> None:
    results = perform(cloud, Check("a", "", good), Check("b", "", bad, ("a",)), Check("c", "", good, ("b",)))
    assert [r.verdict for r in results.values()] == ["passed", "failed", "skipped"]
    assert results["c"].message == "requires b"
    report = Report(id="1", environment="t", started=datetime.now(UTC), seconds=1, results=tuple(results.values())[::2])
    assert not report.passed


def test_a_check_over_budget_fails(cloud: SimpleNamespace) -> None:
    result = perform(cloud, Check("a", "", good, budget=0.15))["a"]
    assert result.verdict is Verdict.FAILED
    assert result.message == "p95 of 0.20 s exceeds the budget of 0.15 s"


def test_an_unknown_error_fails_only_its_check(cloud: SimpleNamespace) -> None:
    def broken(_: Any) -> Outcome:
        raise ValueError("what\nmore")

    results = perform(cloud, Check("a", "", broken), Check("b", "", good))
    assert results["a"].message == "ValueError: what"
    assert results["b"].verdict is Verdict.PASSED


def test_cleanup_runs_before_and_after_even_if_interrupted(cloud: SimpleNamespace, log: list[str]) -> None:
    def interrupted(_: Any) -> Outcome:
        log.append("-- check")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(cloud, Check("a", "", interrupted, creates=True))
    half = log.index("-- check")
    for part in (log[:half], log[half:]):
        assert "delete_server scs-validate-1" in part


def test_no_cleanup_with_keep_or_after_read_only_checks(cloud: SimpleNamespace, log: list[str]) -> None:
    perform(cloud, Check("a", "", good))
    assert not log
    cloud.compute.lists.clear()
    results = perform(cloud, Check("a", "", good, creates=True), keep=True)
    assert list(results) == ["a"]


def test_a_selection_includes_requirements_in_order() -> None:
    checks = validate.available()
    assert [c.name for c in select(["console-url"], checks)] == [
        "token", "services-up", "image", "flavor", "network", "security-group", "server", "console-url",
    ]  # fmt: skip
    assert [c.name for c in select([], checks)] == list(checks)
    with pytest.raises(RefusedError, match="did you mean floating-ip"):
        select(["floatingip"], checks)


def test_every_check_has_a_description() -> None:
    for check in validate.available().values():
        assert check.description.endswith("."), check.name


def test_percentiles() -> None:
    assert measure.percentile([3, 1, 2], 0.5) == 2
    assert measure.percentile([0.0, 1.0], 0.95) == pytest.approx(0.95)
    with pytest.raises(ValueError, match="no samples"):
        measure.percentile([], 0.5)


def test_ping_answers_on_loopback() -> None:
    try:
        assert 0 < icmp.ping("127.0.0.1") < 1
    except PermissionError:
        pytest.skip("no right to open an ICMP socket here")


def test_checksum_of_rfc_1071() -> None:
    assert icmp.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def test_http_get_does_not_follow_redirects(server: str) -> None:
    answer = measure.http_get(server)
    assert (answer.status, answer.body) == (302, "hello")


def test_console_path() -> None:
    assert measure.console_path("https://api:6080/vnc_auto.html?path=%3Ftoken%3Dabc") == "/?token=abc"
    assert measure.console_path("https://api:6080/vnc_lite.html?path=websockify?token=abc") == "/websockify?token=abc"


def test_guest_lines() -> None:
    console = (
        "[ 0.1] kernel\r\nscs-guest: boot kernel=6.12 uptime=2\r\n"
        "scs-guest: lease ip=10.0.0.5 dns=1.1.1.1 9.9.9.9 mtu=\r\n"
    )
    assert guest_lines(console) == {
        "boot": {"kernel": "6.12", "uptime": "2"},
        "lease": {"ip": "10.0.0.5", "dns": "1.1.1.1", "mtu": ""},
    }


def test_a_line_that_the_guest_has_not_finished_says_nothing_yet() -> None:
    earlier = "scs-guest: disk-1 found=a last=a\r\n"
    assert guest_lines(f"{earlier}scs-guest: disk-2 found=a last=") == guest_lines(earlier)


def test_the_floating_pool_is_the_upper_half_of_the_network() -> None:
    assert pool(IPv4Network("172.30.1.0/24")) == ("172.30.1.1", "172.30.1.128", "172.30.1.250")


def test_report_as_junit() -> None:
    now = datetime.now(UTC)
    results = (
        Result(check="a", verdict=Verdict.PASSED, started=now, seconds=1, samples=(0.1, 0.3), budget=1),
        Result(check="b", verdict=Verdict.FAILED, started=now, seconds=1, message="<no>"),
        Result(check="c", verdict=Verdict.SKIPPED, started=now, seconds=0, message="requires b"),
    )
    suite = ET.fromstring(Report(id="1", environment="t", started=now, seconds=2, results=results).junit())[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    failure = suite[1][0]
    assert (failure.tag, failure.get("message")) == ("failure", "<no>")


def test_a_missing_clouds_file_is_refused(tmp_path: Path) -> None:
    environment: Any = SimpleNamespace(
        name="t", state=tmp_path / "t" / "state", ca_file=tmp_path, settings=SimpleNamespace(release="1")
    )
    with pytest.raises(RefusedError, match=r"clouds\.yaml: no such file"):
        validate.run(environment, ["token"])
