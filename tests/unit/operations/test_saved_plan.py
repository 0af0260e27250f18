# SPDX-License-Identifier: Apache-2.0
"""A saved plan is applied only where nothing that it was computed from has changed; a refusal says what did."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations import saved_plan
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region import example, sources
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

RESTART = Change(
    kind=Kind.RESTART, service="keystone", host="testbed-1", subject="keystone",
    reason="keystone.conf: [token] expiration 3600 -> 7200", phase=Phase.ROLL, impact=Impact.API,
)  # fmt: skip
FILE = RESTART.model_copy(update={"kind": Kind.FILE, "subject": "keystone/keystone.conf", "phase": Phase.CONFIG})
PLAN = Plan(changes=(FILE, RESTART))


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Region:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    example.start("berlin", "testbed")
    return Region.load("berlin")


@pytest.fixture
def file(region: Region, tmp_path: Path) -> Path:
    path = tmp_path / "monday.plan"
    saved_plan.save(path, region, Selection(("keystone",), ("testbed-1",), (Impact.DATA_PLANE,)), PLAN)
    return path


def test_it_says_all_that_applying_needs(region: Region, file: Path) -> None:
    saved = saved_plan.load(file)
    assert saved.selection == Selection(("keystone",), ("testbed-1",), (Impact.DATA_PLANE,))
    assert saved.plan == PLAN
    saved_plan.check_inputs(saved, region, file)
    saved_plan.check_same(saved.plan, PLAN)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_changed_a_new_and_a_lost_file_are_named(region: Region, file: Path) -> None:
    folder = region.environment.path
    (folder / "environment.yml").write_text((folder / "environment.yml").read_text() + "# a comment\n")
    (folder / "config").mkdir()
    (folder / "config" / "keystone.conf").write_text("[token]\nexpiration = 7200\n")
    next((folder / "inventory").rglob("*.yml")).unlink()
    changed = dataclasses.replace(region, inputs=sources.digests(region.environment))
    with pytest.raises(RefusedError) as refused:
        saved_plan.check_inputs(saved_plan.load(file), changed, file)
    for part in ("config/keystone.conf was added", "environment.yml was changed", "was removed"):
        assert part in refused.value.message


def test_a_region_that_changed_meanwhile_is_refused(file: Path) -> None:
    other = RESTART.model_copy(update={"host": "testbed-2"})
    with pytest.raises(RefusedError) as refused:
        saved_plan.check_same(saved_plan.load(file).plan, Plan(changes=(FILE, other)))
    assert "restart keystone on testbed-1 (keystone.conf: [token] expiration 3600 -> 7200) is no longer needed" in (
        refused.value.message
    )
    assert "restart keystone on testbed-2" in refused.value.message


def test_another_environment_is_refused(region: Region, file: Path) -> None:
    example.start("hamburg", "testbed")
    with pytest.raises(RefusedError, match="this plan is for environment berlin, not hamburg"):
        saved_plan.check_inputs(saved_plan.load(file), Region.load("hamburg"), file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a saved plan"),
        ("[]", "not a saved plan"),
        (json.dumps({"format": 1}), "not a saved plan"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x"
    path.write_text(content)
    with pytest.raises(RefusedError, match=said):
        saved_plan.load(path)


def test_a_plan_of_another_version_is_refused(file: Path) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, "scs": "0.0.1"}))
    with pytest.raises(RefusedError, match=r"saved by scs 0\.0\.1"):
        saved_plan.load(file)


def test_a_file_that_cannot_be_written_is_refused(region: Region, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="No such file or directory"):
        saved_plan.save(tmp_path / "nowhere" / "x", region, Selection(), PLAN)
