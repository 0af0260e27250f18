# SPDX-License-Identifier: Apache-2.0
"""kill -9 of each stateful container, where it hurts most. Nobody but the node itself starts it again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fault.conftest import Faults
from tests.fault.faults import wait
from tests.fault.members import Membership

WHERE: dict[str, Callable[[Membership], str]] = {
    "mariadb": lambda m: m.writer(),
    "rabbitmq": lambda m: m.vip_holders("internal")[0],
    "ovn_nb": lambda m: m.raft_leader("ovn_nb"),
    "ovn_sb": lambda m: m.raft_leader("ovn_sb"),
    "memcached_tls": lambda m: m.vip_holders("internal")[0],
    "haproxy": lambda m: m.vip_holders("internal")[0],
    "keepalived": lambda m: m.vip_holders("external")[0],
}
"""container: the host whose one is killed"""


@pytest.mark.parametrize("container", WHERE)
def test_kill(container: str, trial: Faults, members: Membership) -> None:
    node = members.nodes[WHERE[container](members)]
    with trial() as t:
        before = node.started(container)
        killed = node.kill_container(container)
        t.note(f"killed pid {killed} of {container} on {node}")
        wait(lambda: node.started(container) not in ("", before), 60, f"a new {container} on {node}")
        t.whole_again()


def test_a_member_that_galera_lets_go_of_comes_back(trial: Faults, members: Membership) -> None:
    """As after an incomplete copy: the server is up, and in no cluster any more."""
    node = members.nodes[next(n for n in members.nodes if n != members.writer())]
    with trial() as t:
        before = node.started("mariadb")
        letting_go = "SET GLOBAL wsrep_cluster_address = ''"
        node.inside("mariadb", "mariadb", "--defaults-file=/etc/mysql/client.cnf", "--execute", letting_go)
        wait(lambda: node.started("mariadb") not in ("", before), 60, f"a new mariadb on {node}")
        t.whole_again()
