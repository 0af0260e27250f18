# SPDX-License-Identifier: Apache-2.0
"""A rotation that is interrupted goes on where it was, and no other one comes between."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.rotate import state
from scs_deploy.operations.rotate.state import Step
from tests.unit.secrets.test_secrets import region


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return region(tmp_path)


class Work:
    """Steps that note what they did, one of which can fail."""

    def __init__(self, fails: str = "") -> None:
        self.did: list[str] = []
        self.fails = fails

    def step(self, key: str, ask: str = "") -> Step:
        def do() -> str:
            if key == self.fails:
                raise ScsError("no")
            self.did.append(key)
            return ""

        return Step(key, f"do {key}", do, ask)


def test_goes_on_with_the_step_that_failed(environment: Environment) -> None:
    first = Work(fails="b")
    rotation = state.begin(environment, "secrets", ["x"])
    with pytest.raises(ScsError):
        state.carry_out(environment, rotation, [first.step(k) for k in "abc"], lambda _: None)
    assert first.did == ["a"]
    again, said = Work(), list[str]()
    rotation = state.begin(environment, "secrets", ["x"])
    assert state.carry_out(environment, rotation, [again.step(k) for k in "abc"], said.append) is None
    assert again.did == ["b", "c"]
    assert said[0] == "1/3 do a: done before"
    assert state.load(environment) is None


def test_killed_before_the_first_step_is_known_as_begun(environment: Environment) -> None:
    rotation = state.begin(environment, "secrets", ["x"])

    def die() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        state.carry_out(environment, rotation, [Step("a", "a", die)], lambda _: None)
    assert state.load(environment) is not None


def test_another_one_is_refused_until_the_first_has_ended(environment: Environment) -> None:
    work = Work(fails="a")
    with pytest.raises(ScsError):
        state.carry_out(environment, state.begin(environment, "ca", []), [work.step("a")], lambda _: None)
    for kind, names in (("secrets", ["x"]), ("certificates", []), ("ca", ["x"])):
        with pytest.raises(RefusedError, match="scs certs rotate --ca"):
            state.begin(environment, kind, names)  # type: ignore[arg-type]
    assert state.begin(environment, "ca", []).done == {}


def test_waits_for_the_operator_and_goes_on_when_told(environment: Environment) -> None:
    work = Work()
    steps = [work.step("a"), work.step("b", ask="users have it"), work.step("c")]
    waits = state.carry_out(environment, state.begin(environment, "ca", []), steps, lambda _: None)
    assert waits is not None
    assert (waits.key, work.did) == ("b", ["a"])
    rotation = state.begin(environment, "ca", [])
    assert state.carry_out(environment, rotation, steps, lambda _: None, frozenset({"b"})) is None
    assert work.did == ["a", "b", "c"]


def test_a_damaged_file_says_what_to_do(environment: Environment) -> None:
    environment.state.mkdir()
    state.file(environment).write_text("{")
    with pytest.raises(RefusedError, match=r"rotation\.json: cannot be read \(remove it"):
        state.load(environment)
