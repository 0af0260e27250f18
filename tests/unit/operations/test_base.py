# SPDX-License-Identifier: Apache-2.0
"""What all operations share: the lock, the record, steps and events; and that each can go on or says why not."""

from __future__ import annotations

import errno
import importlib
import io
import logging
import pkgutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

import scs_deploy.operations
from scs_deploy.base.errors import PausedError, RefusedError, ScsError
from scs_deploy.cli._progress import RunProgress
from scs_deploy.engine.events import Event, Note, ProbeNote, Stage, TaskDone, TaskFailed, TaskStarted
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import Operation, Step, session_of
from scs_deploy.operations.resume import RESUMABLE
from scs_deploy.state import journal
from scs_deploy.state.runs import RunRecord, RunStore, Status, run_store
from tests.unit.secrets.test_secrets import region as environment_in


def begin(store: RunStore) -> RunRecord:
    """Start the record of a test."""
    return store.start("scs test", operation="test", changes_total=2, repeat="repeat the command")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return environment_in(tmp_path)


def operations() -> Iterator[type[Operation[Any, Any, Any]]]:
    for module in pkgutil.walk_packages(scs_deploy.operations.__path__, "scs_deploy.operations."):
        importlib.import_module(module.name)
    left: list[type[Operation[Any, Any, Any]]] = list(Operation.__subclasses__())
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if hasattr(kind, "name"):
            yield kind


def test_every_operation_is_resumed_or_says_why_not() -> None:
    found = {kind.__name__: kind for kind in operations()}
    assert {
        "Apply", "DailyUpgrade", "ReleaseUpgrade", "Rollback", "Restart", "Bootstrap", "ChangeHostNetworks",
        "RunRotation", "CreateBackup", "Restore", "NodeVerb", "Recover",
    } <= found.keys()  # fmt: skip
    assert len({kind.name for kind in found.values()}) == len(found)
    for name, kind in found.items():
        # the runs of these two are those of an upgrade and of an apply
        resumes = kind.name in RESUMABLE or name in {"ReleaseUpgrade", "Rollback"}
        assert resumes == (not kind.repeat), f"{name}: set `repeat`, one line, or make it resumable"
        assert "\n" not in kind.repeat


@pytest.mark.parametrize("kind", list(operations()), ids=lambda kind: kind.__name__)
def test_a_request_is_data(kind: type[Operation[Any, Any, Any]]) -> None:
    """A page can build it, and a record can hold it."""
    required = {
        "release": "2026.1", "kind": "certificates" if kind.name == "rotate" else "restart",
        "verb": "replace", "host": "a", "disk": "b", "service": "mariadb",
    }  # fmt: skip
    given = {k: v for k, v in required.items() if k in kind.requests.model_fields}
    request = kind.requests(**given)
    assert kind.requests.model_validate_json(request.model_dump_json()) == request
    with pytest.raises(ValidationError):
        setattr(request, next(iter(kind.requests.model_fields)), None)


@pytest.mark.parametrize(
    ("end", "status", "raised"),
    [
        (KeyboardInterrupt(), Status.INTERRUPTED, KeyboardInterrupt),
        (ScsError("a host is gone"), Status.FAILED, ScsError),
        (RefusedError("no"), Status.REFUSED, RefusedError),
        (OSError(errno.ENOSPC, "No space left on device"), Status.FAILED, ScsError),
        (KeyError("x"), Status.FAILED, ScsError),
    ],
)
def test_however_it_ends_the_record_says_so_and_the_region_is_free(
    environment: Environment, end: BaseException, status: Status, raised: type[BaseException]
) -> None:
    def dies() -> None:
        raise end

    steps = [Step("one", "do one", lambda: None, ("a",)), Step("two", "do two", dies, ("b",))]
    with (
        pytest.raises(raised),
        session_of(environment) as session,
        session.recording(begin),
    ):
        session.carry_out("test", steps)
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

    steps = [Step("one", "move guests", fails, ("a",), tolerated=True), Step("two", "stop", lambda: done.append("two"))]
    with (
        pytest.raises(ScsError, match="a guest stays"),
        session_of(environment) as session,
        session.recording(begin),
    ):
        session.carry_out("drain", steps)
    assert done == ["two"]


def test_a_broken_view_is_logged_and_the_operation_goes_on(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise ValueError(f"cannot show {event}")

    done: list[str] = []
    steps = [Step(n, f"do {n}", lambda n=n: done.append(n), ("a",)) for n in ("one", "two")]  # type: ignore[misc]
    with (
        caplog.at_level(logging.ERROR, "scs"),
        session_of(environment, broken) as session,
        session.recording(begin),
    ):
        session.carry_out("test", steps)
    assert done == ["one", "two"]
    assert "a view failed to show TaskStarted" in caplog.text
    with run_store(environment) as store:
        assert store.get().status is Status.DONE
    # and the operator's terminal shows the run, not this
    log = journal.log_file(environment)
    assert "ValueError: cannot show TaskStarted" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_log_masks_secrets(environment: Environment) -> None:
    def broken(event: Event) -> None:
        raise ValueError(f"cannot show {event}")

    with (
        session_of(environment, broken) as session,
        session.recording(lambda store: store.start("scs test", secrets=("s3cret-value",))),
    ):
        session.carry_out("test", [Step("one", "use s3cret-value", lambda: None)])
    assert "use ***" in journal.log_file(environment).read_text()
    assert "s3cret-value" not in journal.log_file(environment).read_text()


def test_where_nothing_went_wrong_there_is_no_log(environment: Environment) -> None:
    with session_of(environment) as session, session.recording(begin):
        session.carry_out("test", [Step("one", "do one", lambda: None)])
    assert not journal.log_file(environment).exists()


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
    def start(store: RunStore) -> RunRecord:
        return store.start("scs test s3cret-value", secrets=("s3cret-value",))

    with session_of(environment) as session, session.recording(start):
        session.carry_out("test", [Step("one", "use s3cret-value", lambda: None)])
        session.record.mask(["new-value"])
        session.carry_out("test", [Step("two", "use new-value", lambda: "s3cret-value and new-value")])
    with run_store(environment) as store:
        assert "s3cret-value" not in store.get().command
        first, second = store.steps(store.get().id)
        assert (first.task, second.task, second.message) == ("use ***", "use ***", "*** and ***")


def test_a_step_on_several_hosts_is_one_change(environment: Environment) -> None:
    events: list[Event] = []
    with session_of(environment, events.append) as session, session.recording(begin):
        assert session.run_step("recover", Step("stop", "stop it", lambda: "stopped", ("a", "b"))) == "stopped"
    assert events == [TaskStarted("stop it", "recover"), TaskDone("stop it", "a, b", 1, "stopped")]
    with run_store(environment) as store:
        run = store.get()
        assert (run.changes_done, [s.host for s in store.steps(run.id)]) == (1, ["a", "b"])


def test_a_step_that_pauses_the_run_has_not_failed(environment: Environment) -> None:
    def pauses() -> None:
        raise PausedError("3 requests failed")

    events: list[Event] = []
    with (
        pytest.raises(PausedError),
        session_of(environment, events.append) as session,
        session.recording(begin),
    ):
        session.carry_out("rotate", [Step("roll", "roll", pauses)])
    assert not any(isinstance(e, TaskFailed) for e in events)
    with run_store(environment) as store:
        run = store.get()
        assert (run.status, store.steps(run.id)[0].status) == (Status.PAUSED, Status.PAUSED)
