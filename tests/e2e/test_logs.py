# SPDX-License-Identifier: Apache-2.0
"""Operators find what was written, on all hosts, also when the log stores or the container are gone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.e2e.blackbox import RegionUnderTest, wait

pytestmark = pytest.mark.e2e


def lines(region: RegionUnderTest, *options: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in region.scs("logs", *options, "--json").out.splitlines()]


@pytest.fixture(scope="module")
def request_id(region: RegionUnderTest) -> str:
    """Of a request that Nova refuses: it says so in its log."""
    url = f"{region.auth['auth_url'].rpartition(':')[0]}:8774/v2.1/servers/{uuid.uuid4()}"
    token = region.openstack("token", "issue")["id"]
    answer = requests.get(url, headers={"X-Auth-Token": token}, verify=str(region.ca), timeout=60)
    assert answer.status_code == 404, answer.text
    return answer.headers["X-Openstack-Request-Id"]


def test_every_store_has_the_lines_of_every_host(region: RegionUnderTest) -> None:
    results = {r["check"]: r["verdict"] for r in region.scs("validate", "logs", "--json").json()["results"]}
    assert results["logs"] == "passed"


def test_a_request_is_found_by_its_id(region: RegionUnderTest, request_id: str) -> None:
    wait(lambda: len(lines(region, "--request-id", request_id)) > 0, 60, "the request's lines")
    found = lines(region, "--request-id", request_id, "--since", "1h")
    assert {(row["service"], row["fields"]["request_id"]) for row in found} == {("nova", request_id)}
    assert any("could not be found" in row["text"] for row in found)
    assert lines(region, "--request-id", f"req-{uuid.uuid4()}") == []


def test_the_hosts_journal_is_searched(region: RegionUnderTest) -> None:
    host = region.containers()[0][0]
    mark = f"scs-e2e-{uuid.uuid4().hex}"
    region.on(host, "logger", "--priority", "user.err", "--tag", "scs-e2e", mark)
    wait(lambda: len(lines(region, "--since", "5m", "--grep", mark)) == 1, 60, "the line of the journal")
    (found,) = lines(region, "--since", "5m", "--level", "error", "--grep", mark, "--host", host)
    assert (found["host"], found["container"], found["text"], found["level"]) == (host, "", mark, "error")
    assert "scs-e2e" in found["fields"]["program"]


@pytest.fixture
def without_stores(region: RegionUnderTest) -> Iterator[None]:
    region.scs("stop", "victorialogs", "--yes")
    yield
    region.scs("start", "victorialogs")


@pytest.mark.usefixtures("without_stores")
def test_without_the_stores_the_hosts_are_read(region: RegionUnderTest, request_id: str) -> None:
    finished = region.scs("logs", "--request-id", request_id, "--since", "1h", "--json")
    found = [json.loads(row) for row in finished.out.splitlines()]
    assert any("could not be found" in row["text"] for row in found), str(finished)
    assert {row["container"] for row in found} == {"nova_api"}
    assert "reading the hosts: no log store answers" in finished.err
    refused = region.scs("logs", "--since", "1h", "--from", "store", expect=1)
    assert "no log store answers" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--follow",), "--follow cannot be combined with no name"),
        (("nova", "--previous", "--request-id", "req-1"), "--previous cannot be combined with --request-id"),
        (("--request-id", "a b"), "--request-id a b: not the id of a request"),
        (("nowa", "--from", "store"), "did you mean nova"),
        (("--host", "nobody"), "no host 'nobody'"),
        (("docker.service", "--from", "hosts"), "docker.service is a unit of the hosts' journal"),
    ],
)
def test_what_cannot_be_searched_is_refused(region: RegionUnderTest, arguments: tuple[str, ...], said: str) -> None:
    finished = region.scs("logs", *arguments, expect=2)
    assert said in finished.err, str(finished)
