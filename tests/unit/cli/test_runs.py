# SPDX-License-Identifier: Apache-2.0
"""`scs runs` answers what was changed, why, when and by whom: real records, a real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.change import Change, Kind
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.state import snapshot
from scs_deploy.state.runs import run_store

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
SECRET = "correct-horse"


def change(service: str, host: str, reason: str) -> Change:
    return Change(
        kind=Kind.RESTART, service=service, host=host, subject=service, reason=reason, phase=Phase.ROLL,
        impact=Impact.API,
    )  # fmt: skip


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    scs(tmp_path, "env", "init", "berlin")
    environment = environments.load("berlin")
    environment.lock_file.write_text("---\nrelease: '2025.1'\nimages: {}\n")
    return environment


def scs(regions: Path, *arguments: str) -> str:
    environ = {**os.environ, "SCS_ENVIRONMENTS": str(regions), "COLUMNS": "160"}
    return subprocess.run([*SCS, *arguments], env=environ, check=True, capture_output=True, text=True).stdout


def run(region: Environment, changes: list[Change], inputs: str = "", fails: bool = False) -> str:
    with run_store(region) as store:
        record = store.start("scs apply", inputs=inputs, secrets=[SECRET], changes_total=len(changes))
        try:
            with record.recording():
                record.plan(changes)
                if fails:
                    raise OSError("no route to host")
        except OSError:
            pass
        return record.id


def ids(region: Environment, *filters: str) -> list[str]:
    listed: list[dict[str, Any]] = json.loads(scs(region.path.parent, "runs", "list", "--json", *filters))
    return [r["id"] for r in listed]


def test_runs_are_found_by_what_they_changed(region: Environment) -> None:
    one = run(region, [change("keystone", "a", "x")])
    two = run(region, [change("nova_api", "b", "x")], fails=True)
    assert ids(region) == [two, one]
    assert ids(region, "--service", "keystone") == [one]
    assert ids(region, "--host", "b") == [two]
    assert ids(region, "--failed") == [two]
    assert ids(region, "--since", "1h") == [two, one]
    assert ids(region, "--since", "2100-01-01") == []
    assert ids(region, "--by", "nobody-else") == []
    assert ids(region, "--limit", "1", "--service", "keystone") == [one]


def test_a_run_tells_what_it_was_to_change_and_why(region: Environment) -> None:
    made = run(region, [change("keystone", "a", f"keystone.conf: [token] expiration 3600 -> 7200 {SECRET}")])
    said = scs(region.path.parent, "runs", "show", made, "--plan")
    assert "[token] expiration 3600 -> 7200" in said
    assert SECRET not in said
    (row,) = json.loads(scs(region.path.parent, "runs", "show", made, "--json"))["changes"]
    assert (row["host"], row["kind"], row["subject"]) == ("a", "restart", "keystone")


def test_a_secret_that_json_escapes_is_hidden_too(region: Environment) -> None:
    secret = 'correct"horse\\battery'
    with run_store(region) as store:
        record = store.start("scs apply", secrets=[secret])
        with record.recording():
            record.plan([change("keystone", "a", f"password {secret}")])
        assert [c["reason"] for c in store.planned(record.id)] == ["password ***"]


def test_two_runs_are_compared(region: Environment) -> None:
    file = region.path / "config" / "keystone" / "keystone.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[token]\nexpiration = 3600\n")
    snapshot.keep(region, "inputs-1", "specs")
    one = run(region, [change("keystone", "a", "x"), change("glance", "a", "x")], "inputs-1")
    file.write_text("[token]\nexpiration = 7200\n[database]\npassword = geheim\n")
    snapshot.keep(region, "inputs-2", "specs")
    two = run(region, [change("keystone", "a", "x")], "inputs-2")
    made = json.loads(scs(region.path.parent, "runs", "diff", one, two, "--json"))
    assert made["only_old"] == ["a restart glance"]
    assert made["only_new"] == []
    assert "keystone/keystone.conf: [token] expiration 3600 -> 7200" in made["overrides"]
    assert "geheim" not in json.dumps(made)
    assert made["unknown"] == []
    said = scs(region.path.parent, "runs", "diff", one)
    assert "expiration 3600 -> 7200" in said
    assert f"only {one}: a restart glance" in said
