# SPDX-License-Identifier: Apache-2.0
"""Check that the services behind the APIs are alive."""

from __future__ import annotations

from scs_deploy.validate import measure
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, Outcome, check

REPORT_DEADLINE = 90
"""Seconds. Nova and Neutron mark a service as down 60 to 75 s after its last heartbeat."""


@check("services-up", requires=("token",))
def services_up(region: Region) -> Outcome:
    """Nova's services, the hypervisors and Neutron's agents are up."""
    cloud = region.cloud
    state: dict[str, list[str]] = {}
    counts: dict[str, int] = {}

    def look() -> bool:
        services = [s for s in cloud.compute.services() if s.status == "enabled"]
        hypervisors = list(cloud.compute.hypervisors(details=True))
        agents = list(cloud.network.agents())
        counts.update({"services": len(services), "hypervisors": len(hypervisors), "agents": len(agents)})
        down = [f"{s.binary} on {s.host} is {s.state}" for s in services if s.state != "up"]
        down += [f"hypervisor {h.name} is {h.state}" for h in hypervisors if h.state != "up"]
        down += [f"{a.agent_type} on {a.host} is dead" for a in agents if not a.is_alive]
        down += [f"no {name}" for name, count in counts.items() if not count]
        state["down"] = down
        return not down

    if not measure.until(look, REPORT_DEADLINE, 3):
        raise CheckFailedError("; ".join(state["down"]))
    return Outcome(", ".join(f"{count} {name}" for name, count in counts.items()))
