# SPDX-License-Identifier: Apache-2.0
"""Ansible itself carries out plays on this machine: each step is recorded as what it is, whatever titles say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.errors import MarkupError

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import execute
from scs_deploy.engine.events import Event, TaskDone, TaskStarted
from scs_deploy.engine.playbook import Drain, Play, PlayKind, Task
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.change import Change, Kind
from scs_deploy.secrets import vault
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.state.runs import RunRecord, RunStore, Status, Step
from tests.unit.secrets.test_secrets import region

SAME = "Run keystone.db_sync"
"""A title that every play and task has: nothing may be told apart by it."""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    found = region(tmp_path)
    vault.create_password(found)
    (tmp_path / "inventory").write_text("[all]\na\nb\nc\n[all:vars]\nansible_connection=local\n")
    return found


@pytest.fixture
def store(environment: Environment) -> Iterator[RunStore]:
    made = RunStore(environment.state / "runs.sqlite3")
    yield made
    made.close()


def change(kind: Kind, subject: str) -> Change:
    return Change(kind=kind, service="web", host="a", subject=subject, reason=SAME, phase=Phase.ROLL, impact=Impact.API)


def task(*changes: Change, fails_on: str = "", **fields: Any) -> Task:
    test = {"argv": ["test", "{{ inventory_hostname }}", "!=", fails_on or "nobody"]}
    return Task(title=SAME, module="ansible.builtin.command", arguments=test, changes=changes, **fields)


def play(kind: PlayKind, hosts: str, *tasks: Task, **fields: Any) -> Play:
    return Play(kind=kind, title=SAME, hosts=tuple(hosts), tasks=tasks, **fields)


def run(
    environment: Environment, record: RunRecord, *plays: Play, watch: Callable[[Event], None] = lambda _event: None
) -> None:
    execute.run_plays(environment, plays, record, watch, lambda: None, {"SCS_ENVIRONMENT": ""})


def said(steps: list[Step]) -> list[tuple[str, str, Status]]:
    return [(s.phase, s.host, s.status) for s in steps]


def test_serial_batches_and_plays_of_the_same_title_are_recorded_as_what_they_are(
    environment: Environment, store: RunStore
) -> None:
    record = store.start("scs apply", changes_total=10)
    events: list[Event] = []
    files = task(change(Kind.FILE, "web/a"), change(Kind.FILE, "web/b"))
    plays = (
        play(PlayKind.CONFIG, "ab", files, task(change(Kind.CREATE, "web"))),
        play(PlayKind.ROLL, "abc", task(change(Kind.REPLACE, "web")), serial=1, careful=True),
        play(PlayKind.MIGRATE, "a", task(change(Kind.JOB, "web.sync"), change(Kind.JOB, "web.fill"))),
        play(PlayKind.RECORDS, "bc", task(), group="migrate"),
    )
    run(environment, record, *plays, watch=events.append)
    steps = store.steps(record.id)
    found = [(s.phase, s.host, s.jobs) for s in sorted(steps, key=lambda s: s.sequence)]
    assert sorted(found[:4]) == [("config", "a", ()), ("config", "a", ()), ("config", "b", ()), ("config", "b", ())]
    assert found[4:8] == [
        ("roll", "a", ()), ("roll", "b", ()), ("roll", "c", ()), ("migrate", "a", ("web.sync", "web.fill")),
    ]  # fmt: skip
    assert sorted(found[8:]) == [("migrate", "b", ()), ("migrate", "c", ())]
    assert {s.status for s in steps} == {Status.DONE}
    # two files and a container on two hosts, a container on three, two jobs; a record is no change of the plan
    assert store.get(record.id).changes_done == 6 + 3 + 2
    assert [e.changes for e in events if isinstance(e, TaskDone)] == [2, 2, 1, 1, 1, 1, 1, 2, 0, 0]
    groups = [e.group for e in events if isinstance(e, TaskStarted)]
    assert groups == ["config", "config", "roll", "roll", "roll", "migrate", "migrate"]


DRAINED = Drain(server="a", backends=("web",))


@pytest.mark.parametrize(
    ("fails_in", "taken_back"),
    [
        # while the server is out: both load balancers use it again
        ("roll", [("use", "a"), ("use", "b")]),
        # what was taken out was used again before
        ("alive", []),
    ],
)
def test_after_a_failure_only_what_is_out_is_taken_back(
    environment: Environment, store: RunStore, fails_in: str, taken_back: list[tuple[str, str]]
) -> None:
    record = store.start("scs apply")

    def one(kind: PlayKind, hosts: str, **fields: Any) -> Play:
        fails = hosts[0] if kind.value == fails_in else ""
        return play(kind, hosts, task(change(Kind.REPLACE, "web"), fails_on=fails), **fields)

    plays = (
        one(PlayKind.GATE, "a"),
        one(PlayKind.DRAIN, "ab", drain=DRAINED, together=True),
        one(PlayKind.ROLL, "a", serial=1, careful=True, together=True),
        one(PlayKind.USE, "ab", together=True),
        one(PlayKind.ALIVE, "c"),
        one(PlayKind.ROLL, "b"),
    )
    with pytest.raises(ScsError, match="non-zero return code"):
        run(environment, record, *plays)
    steps = said(store.steps(record.id))
    done = [s for s in steps if s[2] is Status.DONE]
    failed = next(i for i, s in enumerate(steps) if s[2] is Status.FAILED)
    assert steps[failed][0] == fails_in
    assert len(done) == failed
    # there is no HAProxy on this machine that could use it again: that is on record, too
    assert sorted((phase, host) for phase, host, _ in steps[failed + 1 :]) == taken_back


@pytest.mark.parametrize("error", [MarkupError("closing tag '[/etc/x]' doesn't match"), ValueError("no such style")])
def test_a_view_that_breaks_keeps_no_server_out_and_hides_no_reason(
    environment: Environment, store: RunStore, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    record = store.start("scs apply")

    def broken(_event: Event) -> None:
        raise error

    fails = Task(
        title=SAME, module="ansible.builtin.fail", arguments={"msg": "cannot write [/etc/x]"}, changes=(),
    )  # fmt: skip
    plays = (
        play(PlayKind.DRAIN, "ab", task(), drain=DRAINED, together=True),
        play(PlayKind.ROLL, "a", fails, serial=1, careful=True, together=True),
        play(PlayKind.USE, "ab", task(), together=True),
    )
    with pytest.raises(ScsError, match=r"host a: cannot write \[/etc/x\]") as raised:
        run(environment, record, *plays, watch=broken)
    assert raised.value.exit_code == 1
    steps = said(store.steps(record.id))
    assert (steps[2][:2], steps[2][2]) == (("roll", "a"), Status.FAILED)
    assert sorted((phase, host) for phase, host, _ in steps[3:]) == [("use", "a"), ("use", "b")]
    assert "a view failed to show TaskFailed" in caplog.text


def test_a_failed_batch_is_the_last_one(environment: Environment, store: RunStore) -> None:
    record = store.start("scs apply")
    rolling = play(PlayKind.ROLL, "abc", task(change(Kind.REPLACE, "web"), fails_on="b"), serial=1, careful=True)
    with pytest.raises(ScsError, match="host b: "):
        run(environment, record, rolling, play(PlayKind.MIGRATE, "a", task(change(Kind.JOB, "web.sync"))))
    steps = store.steps(record.id)
    assert said(steps) == [("roll", "a", Status.DONE), ("roll", "b", Status.FAILED)]
    assert store.get(record.id).changes_done == 1
