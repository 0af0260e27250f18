# SPDX-License-Identifier: Apache-2.0
"""Observes hosts and compares them with their desired state, host by host: over plain ssh, or with Ansible.

Both ways ask the same question, and judge the answer with the same code: the action plugin `observe` uses it, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired import firewall, resolve
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.desired.model import DesiredHost
from scs_deploy.engine import asking, programs, runner
from scs_deploy.engine.runner import RunResult
from scs_deploy.engine.transport import Reply
from scs_deploy.observed.model import Observed
from scs_deploy.plan.host import container_states, plan_host
from scs_deploy.region.region import Region


def question(region: Region, desired: DesiredHost) -> dict[str, Any]:
    """What the module `observe` is asked about a host."""
    api = region.environment.settings.api
    return {
        "files": {p: f.sha256 for p, f in desired.files.items()},
        "tables": [e.name for e in endpoints(region) if e.balance == "single" and len(e.backends) > 1],
        "addresses": [str(api.internal.address), str(api.external.address)],
        "disks": {
            n: {"volume": next(iter(run.volumes), ""), "paths": list(run.disks)}
            for n, run in desired.containers.items()
            if run.disks
        },
    }


def judged(region: Region, desired: DesiredHost, answer: Mapping[str, Any], states: bool) -> dict[str, Any]:
    """`plan`: what differs on a host; with `states`, also the states of its containers."""
    observed = Observed.model_validate({k: answer[k] for k in Observed.model_fields if k in answer})
    if observed.firewall is not None and not desired.containers.keys() <= observed.containers.keys():
        # what is created must be reachable; rendering the rules for every look would take longer than comparing
        lets_in = firewall.lets_in(region, region.inventory.hosts[desired.host])
        desired = desired.model_copy(update={"lets_in": lets_in})
    result: dict[str, Any] = {"plan": plan_host(desired, observed, tuple(region.secrets.values()), region.lock)}
    return result | ({"states": container_states(desired, observed)} if states else {})


def look(
    region: Region, hosts: Sequence[str], services: Collection[str], states: bool, variables: Mapping[str, str]
) -> RunResult:
    """Observe hosts, all at the same time. `results` of the result has what `judged` returns.

    :param variables: additional environment variables of Ansible, for hosts that only it can reach
    """
    result = RunResult("successful")
    desired: dict[str, DesiredHost] = {}

    def program(host: str) -> str:
        try:
            desired[host] = resolve.resolve(region, host, services)
            return programs.single("observe", question(region, desired[host]))
        except ScsError as error:
            result.fail(host, str(error), isinstance(error, RefusedError))
            return ""

    def with_ansible(others: Sequence[str]) -> RunResult:
        return _look_with_ansible(region, others, services, states, variables)

    def take(reply: Reply) -> None:
        try:
            result.results[reply.host] = judged(region, desired.pop(reply.host), reply.answer, states)
        except ScsError as error:
            result.fail(reply.host, str(error), isinstance(error, RefusedError))

    asking.ask(region, hosts, program, with_ansible, take, result)
    return result


def _look_with_ansible(
    region: Region, hosts: Sequence[str], services: Collection[str], states: bool, variables: Mapping[str, str]
) -> RunResult:
    task: dict[str, Any] = {"name": "Observe", "scs.core.observe": {"states": states, "services": sorted(services)}}
    play = {"name": "Observe", "hosts": ",".join(hosts), "gather_facts": False, "tasks": [task]}
    return runner.run_playbook(region.environment, [play], keep_results=True, variables=variables)
