# SPDX-License-Identifier: Apache-2.0
"""A rotation that is interrupted goes on where it was, and no other one comes between."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine.events import Event, Note, Watch, ignore
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.base import session_of
from scs_deploy.operations.rotate import state
from scs_deploy.operations.rotate.state import Rotation, RotationStep
from scs_deploy.state.runs import Status, run_store
from tests.unit.secrets.test_secrets import region


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return region(tmp_path)


class Work:
    """Steps that note what they did, one of which can fail."""

    def __init__(self, fails: str = "") -> None:
        self.did: list[str] = []
        self.fails = fails

    def step(self, key: str, ask: str = "") -> RotationStep:
        def do() -> str:
            if key == self.fails:
                raise ScsError("no")
            self.did.append(key)
            return ""

        return RotationStep(key, f"do {key}", do, ask=ask)


def carry_out(
    environment: Environment, rotation: Rotation, steps: list[RotationStep], agreed: frozenset[str] = frozenset(),
    watch: Watch = ignore,
) -> RotationStep | None:  # fmt: skip
    """As a run, which holds the region."""
    with (
        session_of(environment, watch) as session,
        session.recording(lambda store: store.start("scs secrets rotate x", operation="rotate")),
    ):
        return state.carry_out(session, rotation, steps, agreed)


def test_goes_on_with_the_step_that_failed(environment: Environment) -> None:
    first = Work(fails="b")
    rotation = state.begin(environment, "secrets", ["x"])
    with pytest.raises(ScsError):
        carry_out(environment, rotation, [first.step(k) for k in "abc"])
    assert first.did == ["a"]
    with run_store(environment) as store:
        run = store.get()
        assert run.status is Status.FAILED
        assert [(s.subject, s.status) for s in store.steps(run.id)] == [("a", Status.DONE), ("b", Status.FAILED)]
    again, said = Work(), list[Event]()
    rotation = state.begin(environment, "secrets", ["x"])
    assert carry_out(environment, rotation, [again.step(k) for k in "abc"], watch=said.append) is None
    assert again.did == ["b", "c"]
    assert said[0] == Note("do a: already done")
    assert state.load(environment) is None


def test_killed_before_the_first_step_is_known_as_begun(environment: Environment) -> None:
    rotation = state.begin(environment, "secrets", ["x"])

    def die() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(environment, rotation, [RotationStep("a", "a", die)])
    assert state.load(environment) is not None
    with session_of(environment), run_store(environment) as store:
        assert store.get().status is Status.INTERRUPTED


def test_another_one_is_refused_until_the_first_has_ended(environment: Environment) -> None:
    work = Work(fails="a")
    with pytest.raises(ScsError):
        carry_out(environment, state.begin(environment, "ca", []), [work.step("a")])
    for kind, names in (("secrets", ["x"]), ("certificates", []), ("ca", ["x"])):
        with pytest.raises(RefusedError, match="scs certs rotate --ca"):
            state.begin(environment, kind, names)  # type: ignore[arg-type]
    assert state.begin(environment, "ca", []).done == {}


def test_waits_for_the_operator_and_goes_on_when_told(environment: Environment) -> None:
    work = Work()
    steps = [work.step("a"), work.step("b", ask="users have it"), work.step("c")]
    waits = carry_out(environment, state.begin(environment, "ca", []), steps)
    assert waits is not None
    assert (waits.key, work.did) == ("b", ["a"])
    rotation = state.begin(environment, "ca", [])
    assert carry_out(environment, rotation, steps, frozenset({"b"})) is None
    assert work.did == ["a", "b", "c"]


def test_a_damaged_file_says_what_to_do(environment: Environment) -> None:
    environment.state.mkdir()
    state.file(environment).write_text("{")
    with pytest.raises(RefusedError, match=r"rotation\.json: cannot be read \(remove it"):
        state.load(environment)
