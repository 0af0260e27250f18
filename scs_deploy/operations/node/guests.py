# SPDX-License-Identifier: Apache-2.0
"""Which guests can leave a compute host, alive or dead, and why the others cannot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scs_deploy.operations.node.view import Compute, Guest, View

LIVE = ("ACTIVE", "PAUSED")
"""States that live migration takes. https://docs.openstack.org/api-guide/compute/server_concepts.html"""

REBUILDS = ("ACTIVE", "SHUTOFF", "ERROR")
"""States from which Nova rebuilds the guests of a dead host: nova.compute.api.API.evacuate."""

BEGUN = "rebuild"
"""Begins the task of a guest that Nova rebuilds already: nova/compute/task_states.py."""

HERE = ("SHELVED_OFFLOADED", "DELETED", "SOFT_DELETED")
"""States of a server whose host does not matter."""

NAMED = 5
"""Guests that a title names."""


POOL, VOLUMES = "vms", "volumes"
"""Pools of guests' own disks and of volumes: nova.conf.j2 and cinder.conf.j2."""


def of(view: View, host: str) -> list[Guest]:
    """Guests of a host, without those whose host does not matter."""
    return [g for g in view.guests.get(host, ()) if g.status not in HERE]


def named(guests: Sequence[Guest]) -> str:
    """The first of them, for a title."""
    more = f" and {len(guests) - NAMED} more" if len(guests) > NAMED else ""
    return ", ".join(g.name for g in guests[:NAMED]) + more


def disks(guest: Guest, local: bool) -> tuple[str, ...]:
    """A guest's disks in Ceph, by the names that Nova and Cinder give them.

    A volume that another one was migrated to has its first id only in Cinder's records; it is left out.

    :param local: disks that are no volumes are files of its host
    """
    own = (f"{POOL}/{guest.id}_disk",) if guest.own_disk and not local else ()
    return (*own, *(f"{VOLUMES}/volume-{v}" for v in guest.volumes))


def stuck(guests: Sequence[Guest], targets: Mapping[str, Compute]) -> dict[str, str]:
    """Guests that cannot be moved, by id: why. Places the largest guests first.

    :param targets: other compute hosts that are up and enabled
    """
    reasons = {g.id: why for g in guests if (why := _state(g) or _bound(g, targets))}
    rest = [g for g in guests if g.id not in reasons and not g.task.startswith("migrating")]
    return {**reasons, **crowded(rest, targets)}


def lost(guests: Sequence[Guest], local: bool) -> dict[str, str]:
    """Guests of a dead host that cannot be rebuilt elsewhere with their data, by id: why.

    :param local: disks that are no volumes are files of the host
    """
    return {g.id: why for g in guests if (why := _lost(g, local))}


def _lost(guest: Guest, local: bool) -> str:
    if guest.own_disk and local:
        return "its disk is on the host"
    if guest.task.startswith(BEGUN):
        return ""
    if guest.task:
        return f"busy: {guest.task}"
    return "" if guest.status in REBUILDS else f"its state is {guest.status}, which Nova does not rebuild"


def crowded(guests: Sequence[Guest], targets: Mapping[str, Compute]) -> dict[str, str]:
    """Guests for which there is no room, by id: why."""
    return places(guests, targets)[1]


def places(guests: Sequence[Guest], targets: Mapping[str, Compute]) -> tuple[dict[str, str], dict[str, str]]:
    """(guest's id: the host that it would fit on, guest's id: why there is none). Places the largest guests first."""
    found: dict[str, str] = {}
    reasons: dict[str, str] = {}
    free = {name: [c.vcpus, c.memory, c.disk] for name, c in targets.items()}
    for guest in sorted(guests, key=lambda g: (-g.memory, -g.vcpus, -g.disk, g.id)):
        need = (guest.vcpus, guest.memory, guest.disk)
        allowed = [n for n in _allowed(guest, targets) if all(f >= w for f, w in zip(free[n], need, strict=True))]
        if not allowed:
            reasons[guest.id] = (
                f"no host has {guest.vcpus} vCPUs, {guest.memory} MiB and {guest.disk} GiB free"
                if targets
                else "no other compute host is up and enabled"
            )
            continue
        best = max(allowed, key=lambda n: (free[n][1], n))
        found[guest.id] = best
        free[best] = [f - w for f, w in zip(free[best], need, strict=True)]
    return found, reasons


def _state(guest: Guest) -> str:
    if guest.task.startswith("migrating"):
        return ""
    if guest.task:
        return f"busy: {guest.task}"
    if guest.status == "SHUTOFF":
        return "is shut off, so its disk cannot be live-migrated"
    return "" if guest.status in LIVE else f"its state is {guest.status}"


def _bound(guest: Guest, targets: Mapping[str, Compute]) -> str:
    if guest.together:
        return f"server group {guest.together} keeps it on the host of its other members (affinity)"
    if guest.zone and targets and not any(c.zone == guest.zone for c in targets.values()):
        return f"requires availability zone {guest.zone}, which has no other host"
    if guest.apart and targets and not _allowed(guest, targets):
        return "every other host has a member of its server group (anti-affinity)"
    return ""


def _allowed(guest: Guest, targets: Mapping[str, Compute]) -> list[str]:
    return [
        n for n, c in targets.items() if n not in guest.apart and (not guest.zone or not c.zone or c.zone == guest.zone)
    ]
