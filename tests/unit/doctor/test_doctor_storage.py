# SPDX-License-Identifier: Apache-2.0
"""What doctor says of the region's Ceph, by what a real cluster of 20.2 answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.doctor import storage
from scs_deploy.operations.storage import look
from scs_deploy.shared.ceph.room import Fill, Level
from scs_deploy.shared.ceph.status import Status
from tests.conftest import dummy_region

FOLDER = Path(__file__).parents[1] / "shared" / "recorded_ceph"


def recorded(name: str) -> Status:
    return Status.parse(json.loads((FOLDER / f"status_{name}.json").read_text(encoding="utf-8"))["status"])


def test_a_full_cluster_is_one_line_with_what_to_do() -> None:
    found = storage.judge(recorded("full"))
    assert (found.level, found.seen) == ("failed", "full: osd.0, osd.1, osd.2 are full")
    assert "add disks, or raise `ratios` a little and delete data: docs/how-to/storage.md" in found.remedy


@pytest.mark.parametrize("level", [Level.NEARFULL, Level.BACKFILLFULL])
def test_a_cluster_that_fills_up_is_a_warning(level: Level) -> None:
    status = recorded("down").model_copy(update={"fill": Fill(level=level, summary=f"1 {level} osd(s)")})
    found = storage.judge(status)
    assert (found.level, found.seen) == ("warning", f"{level}: 1 {level} osd(s)")


def test_other_trouble() -> None:
    found = storage.judge(recorded("down"))
    assert found.level in ("warning", "failed")
    assert "and" in found.seen
    assert storage.judge(recorded("down").model_copy(update={"checks": ()})).level == "ok"


def test_silent_monitors(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: Any) -> Status:
        raise ScsError("ceph: ha-1: no answer", "scs status ceph")

    monkeypatch.setattr(look, "health", silent)
    region = dummy_region("testbed-ha")
    monkeypatch.setattr(storage, "deployed", lambda _: True)
    assert [(c.level, c.remedy) for c in storage.checks(region)] == [("failed", "scs status ceph")]
    monkeypatch.setattr(storage, "deployed", lambda _: False)
    assert [(c.level, c.remedy) for c in storage.checks(region)] == [("warning", "not deployed yet: scs apply")]
