# SPDX-License-Identifier: Apache-2.0
"""Reads the state of a region's Ceph: its health, pools and disks. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import remote
from scs_deploy.engine.remote import Command
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.shared.ceph import desired, disks, observed, room, status
from scs_deploy.shared.ceph.desired import Desired
from scs_deploy.shared.ceph.disks import Disk, Place
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.session import Ceph
from scs_deploy.shared.ceph.status import Status

OSD_DATA = "/var/lib/ceph/osd"
_OSD = re.compile(r"\bceph-(\d+)\b")


def session(region: Region) -> Ceph:
    """The region's monitors.

    :raises RefusedError: the region has no Ceph
    """
    if not ceph.enabled(region):
        raise RefusedError(
            f"this region has no Ceph: no host is in group {ceph.GROUP}",
            f"add hosts with disks to the inventory's group {ceph.GROUP}: docs/how-to/storage.md",
        )
    return Ceph(region, remote.runner_in(region))


def health(region: Region) -> Status:
    """The health of the region's Ceph.

    :raises RefusedError: it has none; ScsError: no monitor answers
    """
    return Status.parse(session(region).ask(status.QUESTIONS))


def full(region: Region) -> str:
    """Why no client of the region's Ceph can write now; empty: they can, there is no Ceph, or no monitor answers."""
    if not ceph.enabled(region):
        return ""
    try:
        return room.refusal(health(region).fill)
    except ScsError:
        return ""


def pools(region: Region) -> tuple[Desired, Observed]:
    """What is declared, and what is there.

    :raises RefusedError: the region has no Ceph; ScsError: no monitor answers
    """
    return desired.build(region), Observed.parse(session(region).ask(observed.QUESTIONS))


def disks_of(region: Region) -> tuple[Disk, ...]:
    """The disks of all hosts, with their OSDs.

    :raises RefusedError: the region has no Ceph; ScsError: no monitor answers
    """
    found = disks.osds(session(region).ask(disks.QUESTIONS))
    return disks.table(places(region), found)


def places(region: Region) -> list[Place]:
    """The disks of the inventory, and the number of the OSD that each one's container has."""
    there = [p for h in region.inventory.group(ceph.GROUP) for p in _of_host(region, h.name)]
    found = _asked(region, there, one_shot=False)
    # a container that does not run has the number in its volume
    silent = [p for p in found if p.osd is None and not p.unreachable]
    later = {(p.host, p.disk): p for p in _asked(region, silent, one_shot=True)}
    return [later.get((p.host, p.disk), p) for p in found]


def _of_host(region: Region, name: str) -> list[Place]:
    return [
        Place(host=name, disk=d.name, path=d.path, container=container)
        for d in region.inventory.hosts[name].disks_of(("osd",))
        if (container := f"{ceph.OSD}_{d.name}") in region.catalog.owner
    ]


def _asked(region: Region, wanted: Sequence[Place], one_shot: bool) -> list[Place]:
    """The same with the numbers that their containers say."""
    by_host: dict[str, list[Place]] = {}
    for place in wanted:
        by_host.setdefault(place.host, []).append(place)
    answers = remote.execute(
        region,
        {
            host: [Command(container=p.container, argv=("ls", OSD_DATA), one_shot=one_shot) for p in own]
            for host, own in by_host.items()
        },
        together=not one_shot,
    )
    result = []
    for host, own in by_host.items():
        if host not in answers.by_host:
            result += [p.model_copy(update={"unreachable": True}) for p in own]
            continue
        for place, answer in zip(own, answers.by_host[host], strict=True):
            number = _OSD.search(answer.output) if answer.code == 0 else None
            result.append(place.model_copy(update={"osd": int(number[1]) if number else None}))
    return result
