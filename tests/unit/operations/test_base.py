# SPDX-License-Identifier: Apache-2.0
"""What all operations share: the lock, the record, steps and events; and that each can go on or says why not."""

from __future__ import annotations

import importlib
import io
import logging
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import scs_deploy.operations
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli._progress import RunProgress
from scs_deploy.engine.events import Event, Note, ProbeNote, Stage, TaskDone, TaskFailed, TaskStarted
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import Operation, Start, Step, session_of
from scs_deploy.state.runs import Status, run_store
from tests.unit.secrets.test_secrets import region as environment_in

START = Start(operation="test", command="scs test", total=2, repeat="repeat the command")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return environment_in(tmp_path)


def operations() -> Iterator[type[Operation[Any, Any]]]:
    for module in pkgutil.walk_packages(scs_deploy.operations.__path__, "scs_deploy.operations."):
        importlib.import_module(module.name)
    left: list[type[Operation[Any, Any]]] = list(Operation.__subclasses__())
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        yield kind


def test_every_operation_can_be_resumed_or_says_why_not() -> None:
    found = {kind.__name__: kind for kind in operations()}
    assert {"Apply", "Restart", "Rollback", "ReleaseUpgrade", "Bootstrap", "ChangeHostNetworks"} <= found.keys()
    for name, kind in found.items():
        assert kind.name, name
        resumes = name in {"Apply", "Resume", "DailyUpgrade", "Rollback", "ReleaseUpgrade"}
        assert resumes == (not kind.repeat), f"{name}: set `repeat`, one line, or make it resumable"
        assert "\n" not in kind.repeat


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (KeyboardInterrupt(), Status.INTERRUPTED),
        (ScsError("a host is gone"), Status.FAILED),
        (RefusedError("no"), Status.REFUSED),
        (MemoryError(), Status.FAILED),
    ],
)
def test_however_it_ends_the_record_says_so_and_the_region_is_free(
    environment: Environment, end: BaseException, status: Status
) -> None:
    def dies() -> None:
        raise end

    steps = [Step("one", "do one", lambda: None, "a"), Step("two", "do two", dies, "b")]
    with (
        pytest.raises(type(end)),
        session_of(environment) as session,
        session.recording(START) as record,
    ):
        session.carry_out(record, "test", steps)
    with session_of(environment), run_store(environment) as store:
        run = store.get()
        assert (run.status, run.changes_done, run.operation) == (status, 1, "test")
        assert [(s.subject, s.status) for s in store.steps(run.id)] == [("one", Status.DONE), ("two", status)] or (
            # a step that failed is failed, whatever became of the run
            store.steps(run.id)[1].status is Status.FAILED
        )


def test_two_do_not_hold_a_region(environment: Environment) -> None:
    with (
        session_of(environment, command="scs apply"),
        pytest.raises(RefusedError, match="scs apply"),
        session_of(environment),
    ):
        pass


def test_a_tolerated_step_fails_the_operation_at_its_end(environment: Environment) -> None:
    done: list[str] = []

    def fails() -> None:
        raise ScsError("a guest stays")

    steps = [Step("one", "move guests", fails, "a", tolerated=True), Step("two", "stop", lambda: done.append("two"))]
    with (
        pytest.raises(ScsError, match="a guest stays"),
        session_of(environment) as session,
        session.recording(START) as record,
    ):
        session.carry_out(record, "drain", steps)
    assert done == ["two"]


def test_a_broken_view_is_logged_and_the_operation_goes_on(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise ValueError(f"cannot show {event}")

    done: list[str] = []
    steps = [Step(n, f"do {n}", lambda n=n: done.append(n), "a") for n in ("one", "two")]  # type: ignore[misc]
    with (
        caplog.at_level(logging.ERROR, "scs"),
        session_of(environment, broken) as session,
        session.recording(START) as record,
    ):
        session.carry_out(record, "test", steps)
    assert done == ["one", "two"]
    assert "a view failed to show TaskStarted" in caplog.text
    with run_store(environment) as store:
        assert store.get(record.id).status is Status.DONE


def test_what_hosts_say_is_never_markup() -> None:
    """A message with brackets once ended a run while servers were out of the load balancers."""
    out = io.StringIO()
    progress = RunProgress(Console(file=out, width=200, force_terminal=False))
    events: list[Event] = [
        Stage("[/x] stage"),
        TaskStarted("[/x] started", "[bold]"),
        TaskFailed("write [/etc/x]", "host-1", "no [/etc/x] and no [red]colour[/]"),
        TaskDone("restart [/y]", "host-1", 1),
        Note("a note [/z]", "host-1"),
        ProbeNote("probe [/w]"),
    ]
    with progress:
        for event in events:
            progress(event)
    text = out.getvalue()
    for part in ("no [/etc/x] and no [red]colour[/]", "restart [/y]", "a note [/z]", "probe [/w]"):
        assert part in text


def test_the_record_masks_secrets(environment: Environment) -> None:
    start = Start(operation="test", command="scs test s3cret-value", total=1, secrets=("s3cret-value",))
    with session_of(environment) as session, session.recording(start) as record:
        session.carry_out(record, "test", [Step("one", "use s3cret-value", lambda: None)])
    with run_store(environment) as store:
        assert "s3cret-value" not in store.get().command
        assert "s3cret-value" not in store.steps(record.id)[0].task
    assert "s3cret" not in repr(Start(operation="test", command="scs test", total=1, secrets=("s3cret",)))
