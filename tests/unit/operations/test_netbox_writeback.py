# SPDX-License-Identifier: Apache-2.0
"""What NetBox is told after runs: against a server that keeps changes, with ETags as NetBox 4.6 has them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.inventory.netbox import mapping
from scs_deploy.inventory.netbox.client import Netbox
from scs_deploy.inventory.netbox.mapping import Writeback
from scs_deploy.operations import netbox_writeback as writeback
from scs_deploy.operations.netbox_writeback import Facts
from scs_deploy.state.runs import RunStore
from tests.netbox.replay import READ_ONLY, WRITER, Behaviour, Replay, recording
from tests.netbox.site import prepare

DEVICE = "/api/dcim/devices/7/"
JOURNAL = "/api/extras/journal-entries/"
RULES = Writeback(state="provision_state", last_run="last_deployed", journal=True)


def device() -> dict[str, Any]:
    """node-0 as it was recorded."""
    body = next(a.body for k, a in recording().answers.items() if k[:2] == ("GET", DEVICE) and a.status == 200)
    return {**json.loads(body), "_etag": 'W/"first"'}


@pytest.fixture
def runs(tmp_path: Path) -> RunStore:
    """A failed run on node-0, a good one on node-0 and node-1, and a running one."""
    store = RunStore(tmp_path / "runs.sqlite3")
    for command, hosts, status in (
        ("scs apply one", ("testbed-node-0", "testbed-node-1"), "done"),
        ("scs apply two", ("testbed-node-0",), "failed"),
    ):
        record = store.start(command, inventory="sha256:abc")
        for host in hosts:
            record.step_finished(record.step_started("config", host=host))
        record.finish(status)
    store.start("scs apply three").step_started("config", host="testbed-node-2")
    return store


def facts(runs: RunStore, host: str = "testbed-node-0", number: int = 7) -> Facts:
    return Facts(host, f"dcim/devices/{number}", "2025.1", runs.last_done()[host])


def test_the_last_run_of_a_host_is_the_newest_that_ended_well(runs: RunStore) -> None:
    assert {h: r.command for h, r in runs.last_done().items()} == {
        "testbed-node-0": "scs apply one",
        "testbed-node-1": "scs apply one",
    }


def test_state_time_and_journal_are_written_once(runs: RunStore) -> None:
    entity = device()
    entity["custom_fields"]["provision_state"] = "registered"
    with Replay(Behaviour(writable={DEVICE: entity, JOURNAL: {}})) as server:
        netbox = Netbox(server.url, WRITER)
        first = writeback.write(netbox, RULES, [facts(runs)], 2, lambda _d, _t: None)
        second = writeback.write(netbox, RULES, [facts(runs)], 2, lambda _d, _t: None)
    assert (first, second) == (("testbed-node-0",), ())
    patch, entry = server.written
    assert patch[:2] == ("PATCH", DEVICE)
    assert set(patch[2]["custom_fields"]) == {"provision_state", "last_deployed"}
    assert patch[2]["custom_fields"]["provision_state"] == "active"
    assert entry[1] == JOURNAL
    assert entry[2]["assigned_object_type"] == "dcim.device"
    assert entry[2]["assigned_object_id"] == 7
    assert "inventory sha256:abc" in entry[2]["comments"]


def test_an_object_that_changes_meanwhile_is_read_again(runs: RunStore) -> None:
    """Somebody else changes the device between reading and writing, twice; nothing of theirs is lost."""
    entity = device()

    class Busy(Replay):
        left = 2

        def answer(self, method: str, target: str, authorization: str, sent: str, match: str) -> Any:
            if method == "PATCH" and self.left:
                self.left -= 1
                entity["_etag"] = f'W/"other-{self.left}"'
                entity["custom_fields"]["operator_notes"] = "written by somebody"
            return super().answer(method, target, authorization, sent, match)

    with Busy(Behaviour(writable={DEVICE: entity, JOURNAL: {}})) as server:
        netbox = Netbox(server.url, WRITER)
        assert writeback.write(netbox, RULES, [facts(runs)], 1, lambda _d, _t: None) == ("testbed-node-0",)
    assert entity["custom_fields"]["operator_notes"] == "written by somebody"
    assert [w[0] for w in server.written] == ["PATCH", "POST"]


def test_an_object_that_never_rests_is_told(runs: RunStore) -> None:
    entity = device()

    class Busy(Replay):
        def answer(self, method: str, target: str, authorization: str, sent: str, match: str) -> Any:
            entity["_etag"] = f'W/"{len(self.requests)}"'
            return super().answer(method, target, authorization, sent, match)

    with (
        Busy(Behaviour(writable={DEVICE: entity})) as server,
        pytest.raises(ScsError, match=r"dcim/devices/7 \(testbed-node-0\): changed 3 times"),
    ):
        writeback.write(Netbox(server.url, WRITER), RULES, [facts(runs)], 1, lambda _d, _t: None)
    assert server.written == []


def test_a_custom_field_that_does_not_exist_is_refused_before_anything_is_written(runs: RunStore) -> None:
    rules = Writeback(state="provision_state", release="installed_release")
    with (
        Replay(Behaviour(writable={DEVICE: device()})) as server,
        pytest.raises(RefusedError, match="no custom field 'installed_release' on dcim/devices/7"),
    ):
        writeback.write(Netbox(server.url, WRITER), rules, [facts(runs)], 1, lambda _d, _t: None)
    assert server.written == []


def test_the_recorded_date_and_time_compares_equal_to_the_same_moment(runs: RunStore) -> None:
    """`2026-08-01T10:00:00Z` as NetBox writes it."""
    run = facts(runs).run.model_copy(update={"finished": datetime.fromisoformat("2026-08-01T12:00:00+02:00")})
    known = Facts("testbed-node-0", "dcim/devices/7", "2025.1", run)
    fields = device()["custom_fields"]
    assert fields["last_deployed"] == "2026-08-01T10:00:00Z"
    assert writeback.changes(fields, known, Writeback(last_run="last_deployed")) == {}


def test_a_journal_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="journal: requires last_run"):
        Writeback(journal=True)


def test_writing_uses_its_own_token_where_there_is_one(tmp_path: Path) -> None:
    region = prepare(tmp_path)
    (region.path / "writer").write_text(WRITER)
    assert mapping.token(region, mapping.load(region), write=True) == READ_ONLY
    prepare(tmp_path, writeback={"state": "provision_state", "token_file": "writer"})
    assert mapping.token(region, mapping.load(region), write=True) == WRITER
    assert mapping.token(region, mapping.load(region)) == READ_ONLY
