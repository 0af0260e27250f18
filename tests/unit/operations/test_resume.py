# SPDX-License-Identifier: Apache-2.0
"""Runs that did not reach their end: what may be resumed, under which record, and what abandoning means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from scs_deploy.base.errors import PausedError, RefusedError
from scs_deploy.cli import runs as commands
from scs_deploy.engine import execute
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.apply import ApplyRequest
from scs_deploy.operations.base import check_resumable
from scs_deploy.operations.base import latest as latest_of
from scs_deploy.operations.upgrade import schedule as upgrade
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.secrets import vault
from scs_deploy.spec.container import Impact
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore, Status
from tests.unit.secrets.test_secrets import SETTINGS
from tests.unit.state.test_state import child, end

ORDERS = ApplyRequest(
    services=("keystone",), hosts=("a",), allow=(Impact.DATA_PLANE,), probe=ProbeOptions(max_failed=3)
)


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    folder = tmp_path / "environments" / "test"
    folder.mkdir(parents=True)
    (folder / "environment.yml").write_text(yaml.safe_dump({**SETTINGS, "vault_password_file": "vault_password"}))
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("SCS_ENVIRONMENT", "test")
    from scs_deploy.environment import environment

    found = environment.load()
    vault.create_password(found)
    return found


@pytest.fixture
def store(region: Environment) -> RunStore:
    return RunStore(region.state / "runs.sqlite3")


def scs(*words: str) -> str:
    """What `scs runs ...` prints; an error of the user's is raised as in the real command."""
    result = CliRunner().invoke(commands.app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize(
    ("status", "resume", "later", "why"),
    [
        (Status.PAUSED, "{}", False, ""),
        (Status.FAILED, "{}", False, ""),
        (Status.INTERRUPTED, "{}", False, ""),
        (Status.DONE, "{}", False, "is done and cannot be resumed"),
        (Status.ABANDONED, "{}", False, "is abandoned"),
        (Status.REFUSED, "{}", False, "is refused"),
        (Status.FAILED, "", False, "cannot be resumed"),
        (Status.PAUSED, "{}", True, "is later than"),
    ],
)
def test_what_may_be_resumed(store: RunStore, status: Status, resume: str, later: bool, why: str) -> None:
    record = store.start("scs apply", resume=resume)
    record.finish(status)
    if later:
        store.start("scs apply").finish()
    run, latest = store.get(record.id), store.get()
    if not why:
        check_resumable(run, latest)
        return
    with pytest.raises(RefusedError, match=why):
        check_resumable(run, latest)


def test_a_resumed_run_keeps_its_record_and_its_orders(store: RunStore) -> None:
    first = store.start("scs apply keystone", changes_total=5, inputs="x", resume=ORDERS.model_dump_json())
    number = first.step_started("Replace a", host="a")
    first.step_finished(number, Status.DONE, changes_done=2)
    first.step_started("Replace b", host="b")
    with pytest.raises(PausedError), first.recording():
        raise PausedError("paused before the next play: too much failed", "scs runs resume")
    found = store.get()
    assert (found.status, found.message) == (Status.PAUSED, "paused before the next play: too much failed")
    assert ApplyRequest.model_validate_json(found.resume) == ORDERS

    again = store.resume(found, changes_left=4, secrets=["very-secret"])
    number = again.step_started("Replace b", host="b")
    again.step_finished(number, Status.FAILED, "very-secret is wrong", 0)
    with again.recording():
        pass
    found = store.get(first.id)
    assert len(store.list()) == 1
    assert (found.status, found.attempt, found.changes_done, found.changes_total) == (Status.DONE, 2, 2, 6)
    assert [(s.sequence, s.host) for s in store.steps(first.id)] == [(1, "a"), (2, "b"), (3, "b")]
    assert store.steps(first.id)[2].message == "*** is wrong"


def test_a_run_knows_what_the_region_went_by_before(store: RunStore) -> None:
    store.start("scs apply", inputs="one", follows=True).finish()
    store.start("scs apply", inputs="two", follows=True).finish(Status.FAILED)
    third = store.start("scs apply", inputs="three", resume="{}")
    assert (store.get(third.id).before, store.get(third.id).inputs) == ("one", "three")


def test_a_restart_is_no_time_that_a_region_goes_back_to(store: RunStore) -> None:
    store.start("scs apply", inputs="one", follows=True).finish()
    # images were built meanwhile: it is done with a lock that nothing follows yet
    store.start("scs restart keystone", inputs="two").finish()
    third = store.start("scs upgrade", inputs="two", resume="{}")
    assert store.get(third.id).before == "one"


def test_a_backup_does_not_hide_what_is_half_done(store: RunStore, region: Environment) -> None:
    """It runs every night, also after an upgrade that failed."""
    failed = store.start("scs upgrade", inputs="x", resume=ORDERS.model_dump_json())
    failed.finish(Status.FAILED, "host a: no space")
    backup = store.start("scs backup create", inputs="x", changing=False)
    backup.finish(Status.INTERRUPTED)
    assert store.get().id == backup.id
    assert latest_of(region) == store.get(failed.id)
    check_resumable(store.get(changing=True), store.list(1, changing=True)[0])
    with pytest.raises(RefusedError, match="no run is in progress"):
        scs("pause")
    scs("abandon")
    assert store.get(failed.id).status is Status.ABANDONED
    assert store.get(backup.id).status is Status.INTERRUPTED
    # and one that did not end keeps no upgrade from beginning
    latest = latest_of(region)
    assert latest and latest.id == failed.id
    upgrade.check_unattended(latest)


def test_abandon(store: RunStore) -> None:
    record = store.start("scs apply", changes_total=3)
    record.finish(Status.FAILED, "host a: no space")
    assert "is abandoned, 0 of 3 changes made" in " ".join(scs("abandon").split())
    shown = json.loads(scs("show", "--json"))
    assert shown["status"] == "abandoned"
    assert shown["message"].startswith("host a: no space; abandoned by ")
    with pytest.raises(RefusedError, match="cannot be abandoned"):
        scs("abandon", record.id)


def test_abandon_is_refused_while_the_run_goes_on(store: RunStore, region: Environment) -> None:
    store.start("scs apply").finish(Status.FAILED)
    with RunLock(region.state / "lock"), pytest.raises(RefusedError, match="is locked by"):
        scs("abandon")
    assert store.get().status is Status.FAILED


def test_pause_reaches_the_run_that_is_under_way(store: RunStore, region: Environment) -> None:
    with pytest.raises(RefusedError, match="no run"):
        scs("pause")
    run = child(f"""
        from pathlib import Path
        from scs_deploy.state.runs import RunStore
        RunStore(Path({str(store.path)!r})).start("scs apply", resume="{{}}")
    """)
    try:
        assert "pauses before its next play" in scs("pause")
        file = execute.folder_of(region, store.get().id) / execute.PAUSE
        assert file.read_text().startswith("requested by ")
        execute.clear_pause(region, store.get().id)
        assert not file.exists()
    finally:
        end(run)
    with pytest.raises(RefusedError, match="no run is in progress"):
        scs("pause")
