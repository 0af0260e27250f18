# SPDX-License-Identifier: Apache-2.0
"""Waits until processes that report to Nova and Neutron do so again: the gate after a rolling change.

A healthy container has its connections; only the API shows whether the control plane sees it again.
https://docs.openstack.org/api-ref/compute/#compute-services-os-services
https://docs.openstack.org/api-ref/network/v2/index.html#agents
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import clouds

PATIENCE = 120.0
"""Seconds to wait for all agents; those of Nova report every 10 s."""


class Agent(Model):
    """A process on a host, as listed by an API."""

    api: str
    """compute or network"""
    binary: str
    host: str

    def __str__(self) -> str:
        return f"{self.binary} on {self.host}"


class Seen(Agent):
    """The state of an agent according to the API."""

    up: bool
    reported: float | None = None
    """time of its last report, seconds since the epoch; None if the API's time does not reflect a restart"""


def silent(wanted: Iterable[Agent], seen: Iterable[Seen], since: float) -> list[str]:
    """Agents that, according to the API, have not worked since then; empty if all have."""
    found = {(s.api, s.binary, s.host): s for s in seen}
    result = []
    for agent in wanted:
        state = found.get((agent.api, agent.binary, agent.host))
        if state is None:
            result.append(f"{agent} is unknown to the API")
        elif not state.up:
            result.append(f"{agent} is down")
        elif state.reported is not None and state.reported < since:
            result.append(f"{agent} has not reported since its start")
    return result


def read(environment: Environment, apis: Iterable[str]) -> list[Seen]:
    """Query the APIs.

    :raises Exception: whatever openstacksdk raises if one does not respond
    """
    cloud = clouds.connect(environment)
    result = []
    if "compute" in apis:
        result += [
            Seen(api="compute", binary=s.binary, host=s.host, up=s.state == "up", reported=_seconds(s.updated_at) or 0)
            for s in cloud.compute.services()
        ]
    if "network" in apis:
        # the heartbeat of an OVN agent has the time of Neutron's latest request
        result += [
            Seen(api="network", binary=a.binary, host=a.host, up=bool(a.is_alive)) for a in cloud.network.agents()
        ]
    return result


def wait(
    environment: Environment,
    wanted: Sequence[Agent],
    since: float,
    patience: float = PATIENCE,
    ask: Callable[[Environment, Iterable[str]], list[Seen]] = read,
) -> None:
    """Wait until all agents have reported since a given time.

    :param since: seconds since the epoch
    :raises ScsError: timeout; names the missing agents, or the API's error
    """
    deadline = time.monotonic() + patience
    apis = {a.api for a in wanted}
    while True:
        try:
            left = silent(wanted, ask(environment, apis), since)
        except Exception as error:  # noqa: BLE001 - an API that is itself being changed fails in many ways
            left = [f"{' and '.join(sorted(apis))}: {' '.join(str(error).split())[:200] or type(error).__name__}"]
        if not left:
            return
        if time.monotonic() > deadline:
            raise ScsError(f"{'; '.join(left[:5])}, after {patience:.0f} s", "scs status; scs logs SERVICE")
        time.sleep(2)


def _seconds(text: Any) -> float | None:
    if not text:
        return None
    moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
