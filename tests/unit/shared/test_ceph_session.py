# SPDX-License-Identifier: Apache-2.0
"""How questions get to a monitor, what its answers become, and what must not be in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.region.region import Region
from scs_deploy.shared import state
from scs_deploy.shared.ceph import ask
from scs_deploy.shared.ceph.differences import Refusal
from scs_deploy.shared.ceph.session import Ceph
from tests.conftest import dummy_region
from tests.support.storage_region import region_with

KEYRING = '[client.a]\n\tkey = first\n\tcaps mon = "profile rbd"\n\n[client.b]\n\tkey = second\n'


class Cluster:
    """Monitors that answer what they are told to."""

    def __init__(self, **answers: tuple[int, bytes, str]) -> None:
        self.answers = answers
        self.given: list[tuple[dict[str, Any], bytes]] = []

    def mon_command(self, text: str, given: bytes, timeout: int) -> tuple[int, bytes, str]:
        command = json.loads(text)
        self.given.append((command, given))
        assert timeout
        return self.answers.get(command["prefix"].replace(" ", "_"), (0, b"", ""))


def test_keys_leave_the_container_as_digests_only() -> None:
    listing = {"auth_dump": [{"entity": "client.a", "key": "secret", "caps": {"mon": "allow r"}}]}
    answers = ask.run(Cluster(auth_ls=(0, json.dumps(listing).encode(), "")), [{"prefix": "auth ls"}])
    assert "secret" not in json.dumps(answers)
    assert answers[0]["data"]["auth_dump"][0]["caps"] == {"mon": "allow r"}


def test_only_the_named_clients_are_imported(tmp_path: Path) -> None:
    file = tmp_path / "clients.keyring"
    file.write_text(KEYRING)
    cluster = Cluster()
    ask.run(cluster, [{"prefix": "auth import", "sections_of": str(file), "sections": ["client.b"]}])
    assert cluster.given == [({"prefix": "auth import", "format": "json"}, b"[client.b]\n\tkey = second\n")]


def test_nothing_is_sent_after_a_command_that_failed() -> None:
    cluster = Cluster(bad=(-22, b"", "no such pool"))
    answers = ask.run(cluster, [{"prefix": "bad"}, {"prefix": "next"}])
    assert [a["text"] for a in answers] == ["no such pool"]
    assert len(ask.run(Cluster(bad=(-22, b"", "")), [{"prefix": "bad", "fails": False}, {"prefix": "next"}])) == 2


class Containers:
    """What `python3 -c` in the monitors' containers prints."""

    def __init__(self, outputs: dict[str, tuple[int, str]]) -> None:
        self.outputs = outputs
        self.asked: list[str] = []

    def run(self, host: str, container: str, argv: tuple[str, ...]) -> tuple[int, str]:
        assert container == "ceph_mon"
        assert argv[:2] == ("python3", "-c")
        self.asked.append(host)
        return self.outputs[host]


def answer(*data: Any, code: int = 0, text: str = "") -> str:
    return json.dumps({"answers": [{"code": code, "text": text, "data": d} for d in data]})


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return region_with(dummy_region("testbed-ha"), tmp_path)


def test_the_next_monitor_is_asked_if_one_does_not_answer(region: Region) -> None:
    hosts = Containers({"ha-1": (1, "the monitors do not answer: timed out"), "ha-2": (0, answer({"a": 1}))})
    ceph = Ceph(region, hosts.run)
    assert ceph.ask([{"prefix": "x"}]) == [{"a": 1}]
    assert ceph.ask([{"prefix": "x"}]) == [{"a": 1}]
    assert hosts.asked == ["ha-1", "ha-2", "ha-2"]


def test_no_monitor_answers(region: Region) -> None:
    said = (1, "Traceback\nthe monitors do not answer: timed out")
    with pytest.raises(ScsError, match="ha-3: the monitors do not answer: timed out"):
        Ceph(region, Containers(dict.fromkeys(("ha-1", "ha-2", "ha-3"), said)).run).ask([{"prefix": "x"}])


def test_a_refused_command_is_named(region: Region) -> None:
    hosts = Containers({"ha-1": (0, "a warning\n" + answer(None, code=-34, text="pg_num is too large"))})
    with pytest.raises(ScsError, match="osd pool create volumes: pg_num is too large"):
        Ceph(region, hosts.run).ask([{"prefix": "osd pool create", "pool": "volumes"}])


def test_only_the_chosen_services_are_refused() -> None:
    shared = state.SharedState(refusals=(Refusal(service="cinder", text="pool volumes: size 3 -> 2", hint="--allow"),))
    shared.refuse(("keystone",))
    with pytest.raises(RefusedError, match="size 3 -> 2"):
        shared.refuse(("keystone", "cinder"))


def test_a_region_without_ceph_asks_nobody(testbed: Region, tmp_path: Path) -> None:
    region = region_with(testbed, tmp_path, storage=0)
    found = state.read(region, Containers({}).run)
    assert (found.changes, found.failed) == ([], {})
