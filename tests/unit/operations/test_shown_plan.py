# SPDX-License-Identifier: Apache-2.0
"""What an operator confirmed is what runs: a file that changed while they read the plan, or later, is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import execute
from scs_deploy.operations import apply
from scs_deploy.operations.apply import Apply, ApplyRequest
from scs_deploy.operations.rollback import Rollback, RollbackRequest
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region import example
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.shared import revisions
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.state import snapshot
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import Status, run_store
from tests.conftest import with_dummies

RESTART = Change(
    kind=Kind.RESTART, service="keystone", host="testbed-1", subject="keystone",
    reason="keystone.conf: [token] expiration 3600 -> 7200", phase=Phase.ROLL, impact=Impact.API,
)  # fmt: skip
OVERRIDE = "config/keystone.conf"


class Hosts:
    """They need one restart, until it is done."""

    def __init__(self) -> None:
        self.left = Plan(changes=(RESTART,))
        self.done: list[Change] = []

    def plan(self, region: Region, _selection: Selection, _patience: float = 0) -> Plan:
        region.check_unchanged()
        return self.left

    def execute(self, _region: Region, plan: Plan, *_: object) -> None:
        self.done += plan.changes
        self.left = Plan(changes=())


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Region:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    example.start("berlin", "testbed")
    (tmp_path / "berlin" / "config").mkdir()
    (tmp_path / "berlin" / "release.lock.yml").write_text("---\nrelease: '2025.1'\nimages: {}\n")
    edit(tmp_path / "berlin", 7200)
    return with_dummies(Region.load("berlin"))


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    found = Hosts()
    monkeypatch.setattr(apply, "make_plan", found.plan)
    monkeypatch.setattr(execute, "execute", found.execute)
    monkeypatch.setattr(revisions, "read", lambda _region: None)
    return found


def edit(folder: Path, expiration: int) -> None:
    (folder / OVERRIDE).write_text(f"[token]\nexpiration = {expiration}\n")


def operation(region: Region) -> Apply:
    return Apply(region, ApplyRequest(probe=ProbeOptions(enabled=False)))


def test_an_override_that_changes_before_yes_is_refused(region: Region, hosts: Hosts) -> None:
    def confirm(_plan: Plan) -> bool:
        edit(region.environment.path, 99999)
        return True

    with pytest.raises(RefusedError, match=f"{OVERRIDE} was changed"):
        operation(region).run(confirm=confirm)
    assert hosts.done == []
    with run_store(region.environment) as store:
        assert store.list(5) == []


def test_an_override_that_changes_during_the_run_is_named_at_its_end(
    region: Region, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute_and_edit(*arguments: object) -> None:
        hosts.done.append(RESTART)
        edit(region.environment.path, 99999)

    monkeypatch.setattr(execute, "execute", execute_and_edit)
    with pytest.raises(ScsError, match=f"are made, but not verified: .* during the run: .*{OVERRIDE} was") as failed:
        operation(region).run()
    assert not isinstance(failed.value, RefusedError)
    assert hosts.done == [RESTART]
    with run_store(region.environment) as store:
        assert [r.status for r in store.list(5)] == [Status.FAILED]


def test_a_rollback_holds_the_region_and_is_undone_if_a_file_changes(region: Region, hosts: Hosts) -> None:
    environment = region.environment
    snapshot.keep(environment, "before", "specs")
    with run_store(environment) as store:
        for inputs in ("before", "after"):
            store.start("scs apply", inputs=inputs, follows=True, revisions="{}").finish()
    edit(environment.path, 1)
    (environment.path / "config" / "nova.conf").write_text("")

    def confirm(_plan: object) -> bool:
        assert "7200" in (environment.path / OVERRIDE).read_text()
        with pytest.raises(RefusedError, match="is locked by"):
            region_lock(environment).acquire()
        edit(environment.path, 99999)
        return True

    operation = Rollback(with_dummies(Region.load("berlin")), RollbackRequest(probe=ProbeOptions(enabled=False)))
    with pytest.raises(RefusedError, match=f"{OVERRIDE} was changed"):
        operation.run(confirm=confirm)
    assert hosts.done == []
    assert "= 1\n" in (environment.path / OVERRIDE).read_text()


def test_an_unchanged_region_is_applied(region: Region, hosts: Hosts) -> None:
    assert operation(region).run().changes == 1
    assert hosts.done == [RESTART]
