# SPDX-License-Identifier: Apache-2.0
"""Asks many hosts the same kind of question: over plain ssh where that is possible, with Ansible elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from scs_deploy.engine import connection
from scs_deploy.engine.runner import RunResult
from scs_deploy.engine.transport import Hosts, Reply
from scs_deploy.environment import sharing
from scs_deploy.region.region import Region


def ask(
    region: Region, hosts: Collection[str], program: Callable[[str], str],
    with_ansible: Callable[[Sequence[str]], RunResult], take: Callable[[Reply], None], result: RunResult,
) -> None:  # fmt: skip
    """Ask hosts, all at the same time.

    :param program: the program for a host that plain ssh reaches; empty: it is not asked
    :param with_ansible: asks the hosts that only Ansible can reach
    :param take: gets each answer to a program, as it comes
    :param result: takes hosts that are unreachable or fail, and all that `with_ansible` returns
    :raises RefusedError: this user may not connect to hosts
    """
    sharing.check_may_connect(region.environment)
    ways = {h: connection.of(region.environment, region.inventory.hosts[h]) for h in hosts}
    with Hosts() as asked:
        for host, way in ways.items():
            if way is not None and (text := program(host)):
                asked.ask(way, text)
        if others := [h for h, way in ways.items() if way is None]:
            result.add(with_ansible(others))
        for reply in asked.replies():
            if reply.unreachable:
                result.unreachable[reply.host] = reply.unreachable
            elif reply.failed:
                result.fail(reply.host, reply.failed, reply.refused)
            else:
                take(reply)
