# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the middle of each operation: the record says so, the region is free, and the run goes on or says why not.

Regions, records, locks and files are real. What a host would do is a function that is interrupted the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import env
from scs_deploy.cli import secrets as secrets_cli
from scs_deploy.clusters.base import Recovery, RecoveryStep
from scs_deploy.engine import execute, reachable, runner
from scs_deploy.environment import environment as environments
from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.host.network.plan import HostNetwork
from scs_deploy.images import registry
from scs_deploy.operations import apply, host_network
from scs_deploy.operations.apply import Apply, ApplyRequest, Converge
from scs_deploy.operations.backup import create, crypt, restore
from scs_deploy.operations.backup.create import BackupRequest, CreateBackup
from scs_deploy.operations.backup.restore import Restore, RestoreRequest
from scs_deploy.operations.backup.restore_plan import RestorePlan
from scs_deploy.operations.backup.restore_run import Restoring
from scs_deploy.operations.base import Operation, session_of
from scs_deploy.operations.bootstrap import Bootstrap, BootstrapRequest
from scs_deploy.operations.host_network import ChangeHostNetworks, NetworkRequest
from scs_deploy.operations.node import run as node
from scs_deploy.operations.node.plan import NodePlan, PlanStep
from scs_deploy.operations.recover.run import Recover, RecoverRequest
from scs_deploy.operations.restart import Restart, RestartRequest
from scs_deploy.operations.resume import resumption
from scs_deploy.operations.rollback import Rollback, RollbackRequest
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.rotation import RotateRequest, RunRotation
from scs_deploy.operations.upgrade import daily
from scs_deploy.operations.upgrade.daily import DailyUpgrade, UpgradeRequest
from scs_deploy.operations.upgrade.release import ReleasePlan, ReleaseRequest, ReleaseUpgrade
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki
from scs_deploy.shared import revisions
from scs_deploy.spec import release as releases
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.state import snapshot
from scs_deploy.state.runs import Status, run_store

UNMEASURED = ProbeOptions(enabled=False)
HOST = "testbed-1"
RESTART = Change(
    kind=Kind.RESTART, service="keystone", host=HOST, subject="keystone", reason="", phase=Phase.ROLL,
    impact=Impact.API,
)  # fmt: skip

app = typer.Typer()
env.register(app)
secrets_cli.register(app)


@dataclass
class Hosts:
    """What was done there; the first time that something is done, the operator presses Ctrl-C."""

    did: list[str] = field(default_factory=list)
    interrupted: bool = False

    def do(self, what: str) -> SimpleNamespace:
        """Do it; returns what a playbook run would."""
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        self.did.append(what)
        return SimpleNamespace(raise_for=lambda _: None)


def locked(release: str, digit: str) -> Lock:
    images = {
        n: LockedImage(reference=f"scs/{n}", digest=f"sha256:{i:063x}{digit}", size=1)
        for i, n in enumerate(sorted(releases.load_release(release).images))
    }
    return Lock(release=release, images=images)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("SCS_ENVIRONMENT", "berlin")
    for words in (("env", "init", "berlin", "--from", "testbed"), ("secrets", "init", "--create-vault-password")):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    found = environments.load("berlin")
    release_lock.save(locked("2025.1", "1"), found.lock_file)
    return found


@pytest.fixture
def hosts(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """A region whose plan is a restart, until it is done."""
    found = Hosts()

    def carried_out(_region: Region, plan: Plan, *_: object) -> None:
        found.do(f"restart {len(plan.changes)}")

    def plan(_region: Region, _selection: object, _patience: float = 0) -> Plan:
        return Plan(changes=() if found.did else (RESTART,))

    monkeypatch.setattr(execute, "execute", carried_out)
    monkeypatch.setattr(apply, "make_plan", plan)
    monkeypatch.setattr(reachable, "unreachable", lambda _region, _hosts: {})
    monkeypatch.setattr(revisions, "read", lambda _region: {"keystone": "1"})
    yield found


def apply_(_hosts: Hosts, _patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    return Apply(Region.load(), ApplyRequest(services=("keystone",), probe=UNMEASURED))


def upgrade(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    patch.setattr(daily, "validate_region", lambda *_: hosts.did.append("validate"))
    return DailyUpgrade(Region.load(), UpgradeRequest(probe=UNMEASURED), "scs upgrade run")


def release_upgrade(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    """Interrupted when its files are written already."""
    patch.setattr(daily, "validate_region", lambda *_: hosts.did.append("validate"))
    release_lock.save(locked("2026.1", "2"), environments.load("berlin", "2026.1").lock_file)
    found = ReleasePlan(now="2025.1", release="2026.1", plan=Plan(changes=(RESTART,)))
    patch.setattr(ReleaseUpgrade, "plan", lambda _self, _watch: found)
    return ReleaseUpgrade(Region.load(), ReleaseRequest(release="2026.1", probe=UNMEASURED), "scs upgrade release")


def roll_back(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    """Of a run that changed an override."""
    region = Region.load()
    snapshot.keep(region.environment, "before", "specs")
    with run_store(region.environment) as store:
        for inputs in ("before", "after"):
            store.start("scs apply", inputs=inputs, follows=True, revisions='{"keystone": "1"}').finish()
    (region.environment.path / "config").mkdir()
    (region.environment.path / "config" / "keystone.conf").write_text("[token]\nexpiration = 7\n")
    return Rollback(Region.load(), RollbackRequest(probe=UNMEASURED))


def restart(_hosts: Hosts, _patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    return Restart(Region.load(), RestartRequest(kind=Kind.RESTART, services=("keystone",)))


def rotate(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    """Interrupted while it rolls the region."""
    patch.setattr(Engine, "refuse_pending", lambda _self: "")
    patch.setattr(pki, "renew", lambda *_: ["api-internal"])
    return RunRotation(Region.load(), RotateRequest(kind="certificates", names=("api-internal",), probe=UNMEASURED))


def change_networks(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    def plans(_region: Region, _hosts: object) -> dict[str, HostNetwork]:
        return {HOST: HostNetwork(host=HOST, reasons=() if hosts.did else ("no link",))}

    patch.setattr(host_network, "plan", plans)
    patch.setattr(host_network, "_one", lambda _region, host: hosts.do(f"network of {host}") and ())
    return ChangeHostNetworks(Region.load(), NetworkRequest(allow=(Impact.NETWORK,)))


def prepare(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    patch.setattr(runner, "run_playbook", lambda *_: hosts.do("prepare"))
    return Bootstrap(Region.load(), BootstrapRequest(hosts=(HOST,)))


def back_up(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    patch.setattr(create._Job, "_save", lambda *_: hosts.do("back up"))
    return CreateBackup(Region.load(), BackupRequest(only=("keystone",)))


def put_back(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    step = RecoveryStep(action="quiet", hosts=(HOST,), what="stop services")
    found = RestorePlan(backup="b", links=(), parts=("mariadb",), quiet={}, beside={}, steps=(step,), notes=())
    patch.setattr(restore, "choose", lambda *_: SimpleNamespace())
    patch.setattr(crypt, "identity", lambda *_: "AGE-SECRET-KEY-1")
    patch.setattr(restore, "check", lambda *_: None)
    patch.setattr(restore, "make_plan", lambda *_: found)
    patch.setattr(Restoring, "act", lambda *_: hosts.do("stop services"))
    return Restore(Region.load(), RestoreRequest(backup="b"))


def drain(hosts: Hosts, patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    found = NodePlan(verb="drain", host=HOST, steps=(PlanStep(name="disable_compute", title="disable nova-compute"),))
    patch.setattr(node, "observe_and_plan", lambda *_: (SimpleNamespace(), found))
    patch.setattr(node, "Effects", lambda _work: SimpleNamespace(note=lambda drained: None, disable_compute=disable))

    def disable() -> None:
        hosts.do("disable nova-compute")

    return node.NodeVerb(Region.load(), node.NodeRequest(verb="drain", host=HOST))


class Broken:
    """A cluster whose one member is to be started."""

    service = "mariadb"

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts

    def read(self, _access: object) -> list[str]:
        return self.hosts.did

    def settling(self, _members: object) -> str:
        return ""

    def decide(self, members: list[str]) -> Recovery:
        steps = () if members else (RecoveryStep(action="start", hosts=(HOST,), what="start it"),)
        return Recovery(members=(), steps=steps, summary="")

    def act(self, _access: object, _step: object) -> None:
        self.hosts.do("start it")

    def put_back(self, _access: object) -> None:
        raise AssertionError("it was no partial recovery")


def recover(hosts: Hosts, _patch: pytest.MonkeyPatch) -> Operation[Any, Any, Any]:
    return Recover(Region.load(), RecoverRequest(service="mariadb"), procedure=Broken(hosts))


Make = Callable[[Hosts, pytest.MonkeyPatch], Operation[Any, Any, Any]]


def interrupt(operation: Operation[Any, Any, Any], environment: Environment) -> str:
    """Run it until the operator presses Ctrl-C; returns the run's id."""
    with pytest.raises(KeyboardInterrupt):
        operation.run()
    with session_of(environment), run_store(environment) as store:
        run = store.get()
        assert run.status is Status.INTERRUPTED
        assert {s.status for s in store.steps(run.id)} <= {Status.INTERRUPTED, Status.DONE}
    return run.id


@pytest.mark.parametrize(
    ("make", "done"),
    [
        (apply_, ["restart 1"]),
        (upgrade, ["restart 1", "validate"]),
        (release_upgrade, ["restart 1", "validate"]),
        (roll_back, ["restart 1"]),
        (rotate, ["restart 1"]),
        (change_networks, [f"network of {HOST}"]),
    ],
)
def test_it_is_resumed_under_its_own_record(
    make: Make, done: list[str], environment: Environment, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "missing", lambda *_: set())
    monkeypatch.setattr("scs_deploy.operations.rotate.certificates.verify", lambda _region: "")
    run = interrupt(make(hosts, monkeypatch), environment)
    operation, found = resumption(Region.load(), None)
    assert found.id == run
    operation.run(resumed=found)
    assert hosts.did == done
    with run_store(environment) as store:
        again = store.get(run)
        assert (again.status, again.attempt, store.get().id) == (Status.DONE, 2, run)


@pytest.mark.parametrize("make", [restart, prepare, back_up, put_back, drain, recover])
def test_it_is_repeated_and_says_so_in_one_line(
    make: Make, environment: Environment, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = make(hosts, monkeypatch)
    run = interrupt(operation, environment)
    with pytest.raises(RefusedError, match="cannot be resumed") as refused:
        resumption(Region.load(), run)
    assert refused.value.hint == operation.repeat
    assert refused.value.hint.startswith("repeat the command: ")


def test_a_release_upgrade_that_is_interrupted_before_its_run_changes_no_file(
    environment: Environment, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = release_upgrade(hosts, monkeypatch)
    before = environment.file.read_bytes(), environment.present_lock.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Converge, "plan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        operation.run()
    assert (environment.file.read_bytes(), environment.present_lock.read_bytes()) == before
    with session_of(environment), run_store(environment) as store:
        assert store.list() == []


def test_a_rollback_whose_changes_are_not_agreed_to_changes_no_file(
    environment: Environment, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = roll_back(hosts, monkeypatch)
    before = snapshot.contents(environment.path / "config")
    asked: list[object] = []

    def no(plan: object) -> bool:
        asked.append(plan)
        return False

    assert operation.run(confirm=no).run == ""
    assert asked == [Plan(changes=(RESTART,))]
    assert snapshot.contents(environment.path / "config") == before
    assert hosts.did == []


def test_what_was_shown_is_what_is_done(environment: Environment, hosts: Hosts) -> None:
    """A plan that somebody looked at is refused where it is not the present one."""
    operation = Apply(Region.load(), ApplyRequest(probe=UNMEASURED))
    other = RESTART.model_copy(update={"subject": "nova_api"})
    with pytest.raises(RefusedError, match=r"restart nova_api on testbed-1 .* is no longer needed"):
        operation.run(plan=Plan(changes=(other,)))
    hosts.interrupted = True
    assert operation.run(plan=operation.plan()).changes == 1


def test_an_unknown_operation_is_refused(environment: Environment) -> None:
    with run_store(environment) as store:
        store.start("scs fly", operation="fly", resume="{}").finish(Status.FAILED)
    with pytest.raises(RefusedError, match="has no operation 'fly'"):
        resumption(Region.load(), None)


def test_a_request_of_another_scs_is_refused(environment: Environment) -> None:
    with run_store(environment) as store:
        store.start("scs apply", operation="apply", resume='{"moons": 2}').finish(Status.FAILED)
    with pytest.raises(RefusedError, match=r"was started by another version of scs"):
        resumption(Region.load(), None)
