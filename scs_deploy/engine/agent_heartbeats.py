# SPDX-License-Identifier: Apache-2.0
"""Waits until processes that report to Nova, Neutron and Cinder do so again: the gate after a rolling change.

A healthy container has its connections; only the API shows whether the control plane sees it again.
https://docs.openstack.org/api-ref/compute/#compute-services-os-services
https://docs.openstack.org/api-ref/network/v2/index.html#agents
https://docs.openstack.org/api-ref/block-storage/v3/#services-os-services
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import clouds

PATIENCE = 120.0
"""Seconds to wait for all agents; those of Nova and Cinder report every 10 s."""


Key = tuple[str, str, str]
"""API, binary and host of an agent."""


class Agent(Model):
    """A process on a host, as listed by an API."""

    api: str
    """compute, network or block-storage"""
    binary: str
    host: str

    def __str__(self) -> str:
        return f"{self.binary} on {self.host}"


class Seen(Agent):
    """The state of an agent according to the API."""

    up: bool
    reported: float | None = None
    """time of its last report, by the API's clock, seconds since the epoch; None if the API does not know"""

    @property
    def key(self) -> Key:
        """Which agent it is."""
        return self.api, self.binary, self.host


def silent(wanted: Iterable[Agent], seen: Iterable[Seen], before: Mapping[Key, float | None]) -> list[str]:
    """Agents that, according to the API, have not worked since an earlier look; empty if all have.

    Times are only compared with each other, so it does not matter whose clock is wrong.

    :param before: their reports at that look
    """
    found = {s.key: s for s in seen}
    result = []
    for agent in wanted:
        state = found.get((agent.api, agent.binary, agent.host))
        if state is None:
            result.append(f"{agent} is unknown to the API")
        elif not state.up:
            result.append(f"{agent} is down")
        elif state.reported is not None and state.reported == before.get(state.key):
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
    if "block-storage" in apis:
        # a volume service is `<host>@<backend>`
        result += [
            Seen(
                api="block-storage", binary=s.binary, host=s.host.partition("@")[0], up=s.state == "up",
                reported=_seconds(s.updated_at) or 0,
            )
            for s in cloud.block_storage.services()
        ]  # fmt: skip
    if "network" in apis:
        # all of OVN's agents have the heartbeat of their ovn-controller: the restart of another one does not show
        # (neutron/plugins/ml2/drivers/ovn/agent/neutron_agent.py), and its health check is what tells
        result += [
            Seen(api="network", binary=a.binary, host=a.host, up=bool(a.is_alive)) for a in cloud.network.agents()
        ]
    return result


def wait(
    environment: Environment,
    wanted: Sequence[Agent],
    patience: float = PATIENCE,
    ask: Callable[[Environment, Iterable[str]], list[Seen]] = read,
) -> None:
    """Wait until all agents have reported after the first look, which comes after their restart.

    :raises ScsError: timeout; names the missing agents, or the API's error
    """
    deadline = time.monotonic() + patience
    apis = {a.api for a in wanted}
    before: dict[Key, float | None] | None = None
    while True:
        try:
            seen = ask(environment, apis)
            if before is None:
                before = {s.key: s.reported for s in seen}
            left = silent(wanted, seen, before)
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
