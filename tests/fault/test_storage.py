# SPDX-License-Identifier: Apache-2.0
"""kill -9 of what stores data, where it hurts most, and the loss of a guest's host: nothing acknowledged is lost.

A guest writes on a volume and a client over S3 meanwhile, as in all fault tests. Nobody but the nodes themselves starts
anything again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scs_deploy.validate.disks import POOL
from tests.fault.conftest import Faults, Trial
from tests.fault.faults import wait
from tests.fault.guest import Guest, Keeper
from tests.fault.members import Membership

Where = Callable[[Membership, Guest], tuple[str, str]]

WHERE: dict[str, Where] = {
    "ceph_osd": lambda m, g: m.osd(m.primary(POOL, g.object())),
    "ceph_mon": lambda m, g: (m.leading_monitor(), "ceph_mon"),
    "ceph_mgr": lambda m, g: (m.active_manager(), "ceph_mgr"),
    "cinder_volume": lambda m, g: (m.writer(), "cinder_volume"),
    "radosgw": lambda m, g: (m.vip_holders("external")[0], "radosgw"),
}
"""What: host and container of the one that is killed. Of the OSDs, the one that takes the guest's writes."""

VOLUME = 120
"""Seconds until a volume is made while one of the hosts that could make it has just lost its process."""


@pytest.fixture
def guest(keeper: Keeper) -> Guest:
    """The guest that writes."""
    found = keeper.guest()
    if found is None:
        pytest.skip("no guest writes: the region has no Ceph, or SCS_FAULT_GUEST is 0")
    return found


@pytest.mark.parametrize("what", WHERE)
def test_kill(what: str, trial: Faults, members: Membership, guest: Guest) -> None:
    with trial() as t:
        host, container = WHERE[what](members, guest)
        node = members.nodes[host]
        before = node.started(container)
        killed = node.kill_container(container)
        t.note(f"killed pid {killed} of {container} on {node}")
        if what == "cinder_volume":
            make_volumes(t)
        wait(lambda: node.started(container) not in ("", before), 60, f"a new {container} on {node}")
        t.whole_again()


def make_volumes(t: Trial) -> None:
    """A user makes volumes while one worker is gone: the others make them.

    :raises AssertionError: one is not made
    """
    api, url = t.prober.https, f"{t.prober.urls['block-storage']}/volumes"
    names = [f"{t.prober.prefix}volume-{n}" for n in range(3)]
    made: dict[str, str] = {}
    try:
        for name in names:
            _, answer = api("POST", url, t.prober.token(), {"volume": {"name": name, "size": 1}}, 30)
            made[name] = answer["volume"]["id"]

        def states() -> dict[str, str]:
            return {n: api("GET", f"{url}/{i}", t.prober.token(), timeout=30)[1]["volume"]["status"]
                    for n, i in made.items()}  # fmt: skip

        wait(
            lambda: set(states().values()) <= {"available", "error"},
            VOLUME,
            "an end of all volumes' making",
            interval=2,
        )
        assert set(states().values()) == {"available"}, f"volumes after the kill: {states()}"
    finally:
        for volume in made.values():
            api("DELETE", f"{url}/{volume}", t.prober.token(), timeout=30)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_host_of_a_guest_is_lost(how: str, trial: Faults, members: Membership, guest: Guest) -> None:
    """It comes back with its host; what it had written, and what was acknowledged before, is there."""
    with trial() as t:
        node = members.nodes[guest.host()]
        t.note(f"{how} of {node}, which runs the guest")
        t.loses(node, how)
