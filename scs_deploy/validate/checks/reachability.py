# SPDX-License-Identifier: Apache-2.0
"""Check that hosts are reachable where their specs say so, and nowhere else."""

from __future__ import annotations

from typing import Any

from scs_deploy.base.plural import counted
from scs_deploy.engine import runner
from scs_deploy.region.region import Region as Described
from scs_deploy.validate import reach
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check

MOST = 5
"""Connections that a message names."""


@check("reachability")
def reachability(region: Region) -> Outcome:
    """From every network, and from one host of each kind, no port of a host is open that is not declared."""
    described = region.description
    if len(described.inventory.hosts) < 2:
        raise NotApplicableError("the region has one host, so no other one can try to reach it")
    first = _play(described, {host: {} for host in described.inventory.hosts})
    sockets = {h: [(str(a), int(p)) for a, p in said["listening"]] for h, said in first.items()}
    tried = 0
    found = []
    places = reach.vantages(described, {h: said["addresses"] for h, said in first.items()})
    for vantage in places:
        probes = list(reach.probes(described, vantage, sockets))
        tried += len(probes)
        asked = [[vantage.address, vantage.interface, p.router, p.address, p.port] for p in probes]
        answer = _play(described, {vantage.host: {"probes": asked}})[vantage.host]
        found += [probes[i] for i in answer["accepted"] if not reach.declared(described, probes[i])]
    if found:
        shown = "; ".join(str(p) for p in found[:MOST])
        more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
        raise CheckFailedError(f"open, and not declared: {shown}{more}")
    return Outcome(f"{counted(tried, 'connection')} from {counted(len(places), 'place')}: only declared ones are open")


def _play(region: Described, arguments: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The answers of the module on these hosts, all with the same arguments."""
    task = {"name": "Reach", "scs.host.reach": next(iter(arguments.values()))}
    play = {"name": "Reach", "hosts": ",".join(sorted(arguments)), "gather_facts": False, "tasks": [task]}
    result = runner.run_playbook(region.environment, [play], keep_results=True, variables=region.tolerated)
    result.raise_for("asking hosts for their ports")
    return {host: result.results[host] for host in arguments}
