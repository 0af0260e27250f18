# SPDX-License-Identifier: Apache-2.0
"""Steps in order, what a failure leaves done, and guests that move or do not: against a Nova that behaves like one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine.events import Note
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import Session
from scs_deploy.operations.node import migrate, run
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.effects import Effects
from scs_deploy.operations.node.plan import NodePlan, PlanStep
from scs_deploy.operations.node.view import Guest
from scs_deploy.region.region import Region
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunStore, Status


class Nova:
    """Live migrations that take some looks; some never begin, some end where they began."""

    def __init__(self, slow: int = 2, refused: tuple[str, ...] = (), broken: tuple[str, ...] = ()) -> None:
        self.slow, self.refused, self.broken = slow, refused, broken
        self.moving: dict[str, int] = {}
        self.host: dict[str, str] = {}
        self.most = 0

    def migrate(self, guest: str) -> str:
        if guest in self.refused:
            return "No valid host was found"
        self.moving[guest] = self.slow
        self.most = max(self.most, len(self.moving))
        return ""

    def where(self, guest: str) -> tuple[str, str, str]:
        if guest in self.moving:
            self.moving[guest] -= 1
            if self.moving[guest] >= 0:
                return "a", "MIGRATING", "migrating"
            del self.moving[guest]
            self.host[guest] = "a" if guest in self.broken else "b"
        return self.host.get(guest, "a"), "ACTIVE", ""

    def last_migration(self, guest: str) -> str:
        return "error" if guest in self.broken else "completed"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.sqlite3")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "INTERVAL", 0.001)
    monkeypatch.setattr(migrate, "SETTLE", 0.0)


def guests(*names: str, task: str = "") -> list[Guest]:
    return [Guest(id=n, name=f"guest-{n}", status="ACTIVE", task=task) for n in names]


def move(nova: Nova, store: RunStore, own: list[Guest]) -> tuple[dict[str, Status], list[str]]:
    record = store.start("drain")
    lines: list[str] = []
    try:
        migrate.migrate(cast("Cloud", nova), "a", own, record, lambda event: lines.append(cast("Note", event).text))
    finally:
        steps = {s.subject: s.status for s in store.steps(record.id)}
    return steps, lines


def test_all_guests_leave_a_few_at_a_time(store: RunStore) -> None:
    nova = Nova()
    steps, lines = move(nova, store, guests("1", "2", "3", "4", "5"))
    assert set(nova.host.values()) == {"b"}
    assert nova.most == migrate.AT_ONCE
    assert set(steps.values()) == {Status.DONE}
    assert "guest-5 is now on b" in lines[-1]
    assert lines[-1].endswith("0 remaining")


def test_guests_that_fail_are_named_and_the_others_leave(store: RunStore) -> None:
    nova = Nova(refused=("2",), broken=("3",))
    with pytest.raises(ScsError) as error:
        move(nova, store, guests("1", "2", "3", "4"))
    assert error.value.exit_code == 1
    assert "2 of 4 guests could not be migrated" in str(error.value)
    assert "guest-2 (2): No valid host was found" in str(error.value)
    assert "guest-3 (3): its migration ended as error" in str(error.value)
    assert (nova.host["1"], nova.host["4"]) == ("b", "b")


def test_migrations_of_an_interrupted_run_are_waited_for(store: RunStore) -> None:
    nova = Nova(refused=("1",))
    nova.moving["1"] = 3
    steps, _ = move(nova, store, guests("1", task="migrating"))
    assert steps == {"1": Status.DONE}


class Recorder:
    """Effects that are remembered; `fails` do not work."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.done = fails, list[str]()

    def note(self, drained: bool) -> None:
        self.done.append(f"drained: {drained}")

    def __getattr__(self, name: str) -> Any:
        def effect() -> None:
            if name in self.fails:
                raise ScsError(f"{name} does not work")
            self.done.append(name)

        return effect


def carry_out(recorder: Recorder, store: RunStore, lock: RunLock, verb: str = "drain") -> None:
    names = ("disable_compute", "move_guests", "move_addresses")
    made = NodePlan(verb=verb, host="a", steps=tuple(PlanStep(name=n, title=n) for n in names))
    record = store.start("drain")
    with record.recording():
        run.carry_out(cast("Effects", recorder), made, Session(cast("Environment", None), lock, record=record))


def test_a_guest_that_stays_does_not_stop_the_drain(store: RunStore, tmp_path: Path) -> None:
    recorder = Recorder("move_guests")
    with RunLock(tmp_path / "lock") as lock, pytest.raises(ScsError, match="move_guests does not work"):
        carry_out(recorder, store, lock)
    assert recorder.done == ["drained: True", "disable_compute", "move_addresses"]
    assert store.get().status is Status.FAILED


def test_another_failure_does(store: RunStore, tmp_path: Path) -> None:
    recorder = Recorder("disable_compute")
    with RunLock(tmp_path / "lock") as lock, pytest.raises(ScsError, match="disable_compute"):
        carry_out(recorder, store, lock)
    assert recorder.done == ["drained: True"]


def test_a_host_counts_as_drained_until_its_last_step(store: RunStore, tmp_path: Path) -> None:
    recorder = Recorder()
    with RunLock(tmp_path / "lock") as lock:
        carry_out(recorder, store, lock, verb="undrain")
    assert recorder.done[-2:] == ["drained: False", "move_addresses"]


def test_a_run_that_lost_the_region_stops(store: RunStore, tmp_path: Path) -> None:
    recorder = Recorder()
    with RunLock(tmp_path / "lock") as lock:
        (tmp_path / "lock").unlink()
        with pytest.raises(ScsError, match="lock"):
            carry_out(recorder, store, lock)
    assert recorder.done == []


def test_every_step_of_a_plan_has_an_effect() -> None:
    from scs_deploy.operations.node import evacuation, plan

    text = "".join(Path(str(m.__file__)).read_text(encoding="utf-8") for m in (plan, evacuation))
    names = {part.split('"')[0] for part in text.split('PlanStep(name="')[1:]}
    assert len(names) > 15
    assert {n for n in names if not callable(getattr(Effects, n, None))} == set()


def test_all_reasons_stand_on_one_line(testbed: Region) -> None:
    from scs_deploy.operations.node.plan import Refusal

    refusals = (Refusal(reason="one", hint="do"), Refusal(reason="two", hint="do"))
    verb = run.NodeVerb(testbed, run.NodeRequest(verb="drain", host="testbed-1"))
    with pytest.raises(RefusedError, match=r"^one; two \(do\)$"):
        verb.check(NodePlan(verb="drain", host="testbed-1", refusals=refusals))


def test_a_refused_plan_is_shown_and_changes_nothing(
    testbed: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scs_deploy.operations.node.plan import Refusal

    environment = testbed.environment.model_copy(update={"path": tmp_path})
    region = dataclasses.replace(testbed, environment=environment)
    refused = NodePlan(verb="drain", host="testbed-1", refusals=(Refusal(reason="no quorum"),))
    monkeypatch.setattr(run, "observe_and_plan", lambda *_: (None, refused))
    shown: list[NodePlan] = []

    def confirm(made: NodePlan) -> bool:
        shown.append(made)
        return True

    verb = run.NodeVerb(region, run.NodeRequest(verb="drain", host="testbed-1"))
    with pytest.raises(RefusedError, match="no quorum"):
        verb.run(confirm=confirm)
    assert shown == [refused]
    assert not (environment.state / "runs.sqlite3").exists()
