# SPDX-License-Identifier: Apache-2.0
"""What evacuated guests left on a host that is back: it was perhaps only cut off, and still runs them.

They are destroyed before the shared storage takes anything from the host again. nova-compute does the rest when it
starts: by its records of evacuations it removes domains, ports and allocations, and Nova refuses to take the service as
up again before (nova.api.openstack.compute.services.ServiceController._check_for_evacuations).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from scs_deploy.base.plural import counted
from scs_deploy.clusters.ceph import progress
from scs_deploy.clusters.ceph.progress import Left
from scs_deploy.engine.remote import Command
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.work import Work

LIBVIRT, COMPUTE = "nova_libvirt", "nova_compute"
STARTS = 300.0
"""Seconds for libvirt to answer on a host that has just started."""

ID = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.MULTILINE)


def virsh(*words: str) -> Command:
    """`virsh` in libvirt's container."""
    return Command(container=LIBVIRT, argv=("virsh", "--quiet", "--connect", "qemu:///system", *words), timeout=60)


RUNNING = virsh("list", "--uuid")
"""Ids of the guests whose QEMU runs; paused ones, too. Nova's guests have the same id in libvirt."""


def strangers(said: str, here: Callable[[str], bool]) -> list[str]:
    """Guests that run on a host and do not belong there, from the answer to `RUNNING`. Pure.

    :param here: whether Nova has the guest on this host
    """
    return [guest for guest in ID.findall(said) if not here(guest)]


def destroy(work: Work, cloud: Callable[[], Cloud]) -> None:
    """Destroy guests that run on the host and are elsewhere, or nowhere, as Nova knows it.

    :raises ScsError: libvirt does not answer, or a guest still runs
    """
    running = ""

    def silent() -> str:
        nonlocal running
        answer = work.access.execute(work.host, RUNNING)
        running = answer.output
        return "" if answer.code == 0 else " ".join(answer.output.split())[-200:] or "no answer"

    work.access.until(silent, STARTS, f"{work.host}: {LIBVIRT} does not answer")
    api = cloud()
    for guest in strangers(running, lambda g: api.where(g)[0] == work.host):
        work.access.output(work.host, virsh("destroy", guest))
        work.say(f"destroyed what still ran of guest {guest}, which is elsewhere now")


def clear(work: Work, cloud: Callable[[], Cloud]) -> None:
    """Have nova-compute clean up after evacuations, and Nova take it as up.

    :raises ScsError: it makes no progress
    """
    # it may wait for its next attempt to start; one that runs since before the evacuations has to start anew
    work.access.containers("restart", COMPUTE, (work.host,), wait=True)
    api = cloud()

    def left() -> Left:
        count = api.left_behind(work.host)
        text = f"nova-compute has yet to clean up after {counted(count, 'evacuated guest')}" if count else ""
        return Left((count,), text)

    progress.wait(work.access, left, work.host, f"scs logs {COMPUTE} --host {work.host}; then repeat the command")
    api.force_down(work.host, down=False)
