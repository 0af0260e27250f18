# SPDX-License-Identifier: Apache-2.0
"""What a node remembers of its jobs' successes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support import node_modules


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Ansible module, with its records in a folder of this test."""
    found = node_modules.load(monkeypatch, "jobs")
    monkeypatch.setattr(found, "RECORDS", str(tmp_path))
    return found


def test_successes_stay_known_in_the_order_of_the_first(module: Any, tmp_path: Path) -> None:
    # as an earlier scs wrote it
    (tmp_path / "web.sync").write_text('{"hash": "a", "seconds": 1.0}')
    for job in ("b", "a", "b", "c"):
        module.record("web.sync", {"hash": job})
    assert json.loads((tmp_path / "web.sync").read_text()) == {"hash": "c", "succeeded": ["a", "b", "c"]}


def test_a_damaged_record_is_none(module: Any, tmp_path: Path) -> None:
    (tmp_path / "web.sync").write_text("{")
    module.record("web.sync", {"hash": "a"})
    assert json.loads((tmp_path / "web.sync").read_text()) == {"hash": "a", "succeeded": ["a"]}


def test_a_job_whose_thread_breaks_has_failed(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: dict[str, Any] = {}

    class Ansible:
        check_mode = False
        params: ClassVar = {"jobs": [{"name": "web.sync"}, {"name": "web.late"}], "record": {}, "trial": False}

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def fail_json(self, **result: Any) -> None:
            ended.update(result)
            raise SystemExit(1)

        exit_json = fail_json

    def run_job(engine: Any, job: dict[str, Any], trial: bool) -> float:
        # what a half answer of a restarting engine is for the JSON parser
        return float(json.loads("{"))

    monkeypatch.setattr(module, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(module, "AnsibleModule", Ansible)
    monkeypatch.setattr(module, "Engine", object)
    monkeypatch.setattr(module, "run_job", run_job)
    with pytest.raises(SystemExit):
        module.main()
    assert ended["msg"].startswith("web.sync: JSONDecodeError")
    assert ended["done"] == {}
