# SPDX-License-Identifier: Apache-2.0
"""A recovery is a run: locked, recorded, asked for, looked at again. Against a cluster that is a dictionary."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.clusters.base import Recovery, RecoveryStep, names
from scs_deploy.engine.access import Access
from scs_deploy.environment.environment import Keep
from scs_deploy.operations import base
from scs_deploy.operations.recover import run
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore, Status


class Cluster:
    """Members that must be stopped before one sees how they are mended; `stuck` ones stay as they are."""

    service = "thing"

    def __init__(self, **members: str) -> None:
        self.members = members
        self.refuses = False

    def read(self, access: Access) -> dict[str, str]:
        return dict(self.members)

    def settling(self, members: dict[str, str]) -> str:
        return ""

    def decide(self, members: dict[str, str]) -> Recovery:
        rows = tuple({"host": h, "state": s} for h, s in members.items())
        broken = tuple(h for h, s in members.items() if s == "broken")
        stopped = tuple(h for h, s in members.items() if s in ("stopped", "stuck"))
        if broken:
            step = RecoveryStep(action="stop", hosts=broken, what="stop")
            return Recovery(members=rows, steps=(step,), summary="broken", partial=True)
        if stopped and self.refuses:
            raise RefusedError("histories differ")
        steps = tuple(RecoveryStep(action="start", hosts=(h,), what="start") for h in stopped)
        return Recovery(members=rows, steps=steps, summary=f"{names(stopped)} stopped" if stopped else "all work")

    def act(self, access: Access, step: RecoveryStep) -> None:
        for host in step.hosts:
            if self.members[host] == "fails":
                raise ScsError(f"host {host}: no")
            if self.members[host] != "stuck":
                self.members[host] = "stopped" if step.action == "stop" else "works"

    def put_back(self, access: Access) -> None:
        self.members = {h: "broken" if s == "stopped" else s for h, s in self.members.items()}


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(base, "inputs", lambda _region: "0123")
    surroundings = SimpleNamespace(
        state=tmp_path / "state", path=tmp_path, secrets_file=tmp_path / "secrets.yml",
        settings=SimpleNamespace(keep=Keep()),
    )  # fmt: skip
    return SimpleNamespace(environment=surroundings, inventory=SimpleNamespace(hash="sha256:0"), secrets={})


def recovery(region: Any, cluster: Cluster) -> run.Recover:
    return run.Recover(region, run.RecoverRequest(service="thing"), procedure=cluster)


def recover(region: Any, cluster: Cluster, *answers: bool) -> run.Recovered:
    left = list(answers)
    return recovery(region, cluster).run(confirm=lambda _seen: left.pop(0))


def runs(region: Any) -> list[tuple[Status, int, int]]:
    store = RunStore(region.environment.state / "runs.sqlite3")
    try:
        return [(r.status, r.changes_done, r.changes_total) for r in store.list()]
    finally:
        store.close()


def test_a_partial_recovery_goes_on_until_nothing_is_left(region: Any) -> None:
    cluster = Cluster(a="broken", b="broken", c="works")
    found = recover(region, cluster, True, True)
    assert cluster.members == {"a": "works", "b": "works", "c": "works"}
    assert (found.found.summary, found.after.summary) == ("broken", "all work")
    assert runs(region) == [(Status.DONE, 3, 3)]
    store = RunStore(region.environment.state / "runs.sqlite3")
    assert [(s.task, s.host) for s in store.steps(found.run)] == [
        ("stop", "a"), ("stop", "b"), ("start", "a"), ("start", "b"),
    ]  # fmt: skip
    store.close()


def test_nothing_to_recover_is_no_run(region: Any) -> None:
    found = recover(region, Cluster(a="works"))
    assert (found.run, found.after.steps) == ("", ())
    assert not (region.environment.state / "runs.sqlite3").exists()


def test_no_changes_nothing(region: Any) -> None:
    cluster = Cluster(a="broken")
    assert recover(region, cluster, False).run == ""
    assert cluster.members == {"a": "broken"}


@pytest.mark.parametrize("refuses", [True, False])
def test_what_was_stopped_for_reading_is_put_back(region: Any, refuses: bool) -> None:
    cluster = Cluster(a="broken")
    cluster.refuses = refuses
    with pytest.raises(RefusedError):
        recover(region, cluster, True, False)
    assert cluster.members == {"a": "broken"}
    assert [r[0] for r in runs(region)] == [Status.REFUSED]


def test_a_member_that_is_not_mended_fails_the_run(region: Any) -> None:
    with pytest.raises(ScsError, match="still unhealthy") as failed:
        recover(region, Cluster(a="stuck", b="stopped"), True)
    assert failed.value.exit_code == 1
    assert [r[0] for r in runs(region)] == [Status.FAILED]


def test_a_failed_step_is_recorded_and_ends_the_run(region: Any) -> None:
    cluster = Cluster(a="stopped", b="stopped")
    cluster.members["a"] = "stuck"

    def fail(access: Access, step: RecoveryStep) -> None:
        raise ScsError("host a: no space")

    cluster.act = fail  # type: ignore[method-assign]
    with pytest.raises(ScsError, match="no space"):
        recover(region, cluster, True)
    assert cluster.members["b"] == "stopped"
    assert [r[0] for r in runs(region)] == [Status.FAILED]


def test_another_run_holds_the_region(region: Any) -> None:
    cluster = Cluster(a="stopped")
    with RunLock(region.environment.state / "lock", "scs apply"), pytest.raises(RefusedError, match="scs apply"):
        recover(region, cluster, True)
    assert cluster.members == {"a": "stopped"}


def test_a_plan_changes_nothing_and_needs_no_lock(region: Any) -> None:
    cluster = Cluster(a="broken")
    with RunLock(region.environment.state / "lock", "scs apply"):
        found = recovery(region, cluster).plan()
    assert [s.action for s in found.steps] == ["stop"]
    assert cluster.members == {"a": "broken"}
