# SPDX-License-Identifier: Apache-2.0
"""Waiting for members that a recovery started: until nothing is missing of any, and not for one that keeps crashing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import CRASHES, await_members
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Answers, Command, ContainerState
from scs_deploy.region.region import Region

WORKS, STARTS = Answer(code=0, output="member"), Answer(code=1, output="")
ENDED = Answer(code=-1, output="", container=ContainerState.STOPPED)


class Rounds(Access):
    """Gives one prepared round of answers after the other; the last one again and again."""

    def __init__(self, *rounds: Mapping[str, Answer | None]) -> None:
        super().__init__(cast(Region, None), lambda kind, text: self.said.append(text))
        self.said: list[str] = []
        self._rounds: Iterator[Mapping[str, Answer | None]] = iter([*rounds, *[rounds[-1]] * 20])

    def run(self, commands: Mapping[str, Sequence[Command]], together: bool = False) -> Answers:
        now = next(self._rounds)
        return Answers({h: (a,) for h, a in now.items() if a}, {h: "no route" for h, a in now.items() if a is None})


def wait_for(access: Access, hosts: tuple[str, ...], seconds: float = 60) -> None:
    def question(host: str) -> Command:
        return Command(container="votes", argv=("ask", host))

    def missing(answer: Answer) -> str:
        return "votes starts" if answer.code else ""

    await_members(access, "votes", hosts, question, missing, seconds, "no votes")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_it_waits_for_the_last_one_and_says_what_is_missing() -> None:
    access = Rounds({"a": STARTS, "b": STARTS}, {"a": WORKS, "b": STARTS}, {"a": WORKS, "b": WORKS})
    wait_for(access, ("a", "b"))
    assert access.said == ["a: votes starts", "b: votes starts"]


def test_one_that_keeps_crashing_is_not_awaited() -> None:
    with pytest.raises(ScsError, match="host b: votes keeps crashing") as error:
        wait_for(Rounds({"a": WORKS, "b": ENDED}), ("a", "b"))
    assert error.value.hint == "scs logs votes --host b"
    # it may end a few times before it works
    wait_for(Rounds(*[{"b": ENDED}] * (CRASHES - 1), {"b": WORKS}), ("b",))


def test_a_lost_host_ends_it() -> None:
    with pytest.raises(ScsError, match="host b became unreachable"):
        wait_for(Rounds({"a": WORKS, "b": None}), ("a", "b"))


def test_the_time_is_bounded() -> None:
    with pytest.raises(ScsError, match="a, b: no votes after -0 s: a: votes starts"):
        wait_for(Rounds({"a": STARTS, "b": WORKS}), ("a", "b"), seconds=-0.1)
