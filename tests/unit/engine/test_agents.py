# SPDX-License-Identifier: Apache-2.0
"""A rolling change goes on only when the control plane hears of a process again."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import agent_heartbeats as agents
from scs_deploy.engine.agent_heartbeats import Agent, Seen
from scs_deploy.environment.environment import Environment
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds

COMPUTE = Agent(api="compute", binary="nova-compute", host="c1")
OTHER = COMPUTE.model_copy(update={"host": "c2"})
METADATA = Agent(api="network", binary="neutron-ovn-metadata-agent", host="c1")


BEFORE = {("compute", "nova-compute", "c1"): 100.0, ("network", "neutron-ovn-metadata-agent", "c1"): None}


def seen(agent: Agent, up: bool = True, reported: float | None = None) -> Seen:
    return Seen(**agent.model_dump(), up=up, reported=reported)


@pytest.mark.parametrize(
    ("states", "left"),
    [
        ([seen(COMPUTE, reported=101), seen(METADATA)], []),
        # still up for Nova, because the report from before the restart is young enough
        ([seen(COMPUTE, reported=100), seen(METADATA)], ["nova-compute on c1 has not reported since its start"]),
        ([seen(COMPUTE, up=False, reported=101), seen(METADATA)], ["nova-compute on c1 is down"]),
        ([seen(COMPUTE, reported=101)], ["neutron-ovn-metadata-agent on c1 is unknown to the API"]),
        ([seen(OTHER, reported=101), seen(METADATA)], ["nova-compute on c1 is unknown to the API"]),
    ],
)  # fmt: skip
def test_who_is_silent(states: list[Seen], left: list[str]) -> None:
    assert agents.silent([COMPUTE, METADATA], states, BEFORE) == left


def test_an_api_that_fails_for_a_while_is_asked_again(testbed: Region) -> None:
    # by a clock that is hours behind, and one report is from before the restart
    reports = [[seen(COMPUTE, reported=moment)] for moment in (7.0, 7.0, 17.0)]
    answers: list[list[Seen] | Exception] = [OSError("no answer"), *reports]

    def ask(_environment: Environment, apis: Iterable[str]) -> list[Seen]:
        assert set(apis) == {"compute"}
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    agents.wait(testbed.environment, [COMPUTE], ask=ask)
    assert answers == []


def test_cinders_services_are_known_by_their_hosts(testbed: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    when = "2026-11-21T10:00:00.000000"
    services = [
        SimpleNamespace(binary="cinder-volume", host="c1@rbd", state="up", updated_at=when),
        SimpleNamespace(binary="cinder-scheduler", host="c1", state="down", updated_at=when),
    ]
    cloud = SimpleNamespace(block_storage=SimpleNamespace(services=lambda: services))
    monkeypatch.setattr(clouds, "connect", lambda _: cloud)
    found = {(s.binary, s.host, s.up, s.reported) for s in agents.read(testbed.environment, ["block-storage"])}
    assert found == {("cinder-volume", "c1", True, 1795255200.0), ("cinder-scheduler", "c1", False, 1795255200.0)}


def test_silence_ends_the_run(testbed: Region) -> None:
    with pytest.raises(ScsError, match="nova-compute on c1 is down, after 0 s"):
        agents.wait(testbed.environment, [COMPUTE], 0, lambda *_: [seen(COMPUTE, up=False)])


@pytest.mark.parametrize(
    ("text", "found"),
    [("2026-11-21T10:00:00.000000", 1795255200.0), ("2026-11-21T10:00:00Z", 1795255200.0), (None, None)],
)
def test_times_are_utc(text: str | None, found: float | None) -> None:
    assert agents._seconds(text) == found
