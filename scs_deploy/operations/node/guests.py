# SPDX-License-Identifier: Apache-2.0
"""Which guests can leave a compute host, and why the others cannot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scs_deploy.operations.node.view import Compute, Guest

LIVE = ("ACTIVE", "PAUSED")
"""States that live migration takes. https://docs.openstack.org/api-guide/compute/server_concepts.html"""

HERE = ("SHELVED_OFFLOADED", "DELETED", "SOFT_DELETED")
"""States of a server whose host does not matter."""


def stuck(guests: Sequence[Guest], targets: Mapping[str, Compute]) -> dict[str, str]:
    """Guests that cannot be moved, by id: why. Places the largest guests first.

    :param targets: other compute hosts that are up and enabled
    """
    reasons = {g.id: why for g in guests if (why := _state(g) or _bound(g, targets))}
    free = {name: [c.vcpus, c.memory, c.disk] for name, c in targets.items()}
    for guest in sorted(guests, key=lambda g: (-g.memory, -g.vcpus, -g.disk, g.id)):
        if guest.id in reasons or guest.task.startswith("migrating"):
            continue
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
        free[best] = [f - w for f, w in zip(free[best], need, strict=True)]
    return reasons


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
