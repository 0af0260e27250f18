# SPDX-License-Identifier: Apache-2.0
"""The region's Ceph in one line: whether it answers, is well, and has room."""

from __future__ import annotations

from collections.abc import Iterator

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.doctor.model import Check, failed, ok, warning
from scs_deploy.doctor.region import deployed
from scs_deploy.operations.storage import look
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.shared.ceph.room import GUIDE, Fill
from scs_deploy.shared.ceph.status import Status


def checks(region: Region) -> Iterator[Check]:
    """What the monitors say; nothing if the region has no Ceph."""
    if not ceph.enabled(region):
        return
    try:
        yield judge(look.health(region))
    except ScsError as error:
        if deployed(region.environment):
            yield failed("storage", error.message, error.hint or "scs status ceph")
        else:
            yield warning("storage", error.message, "not deployed yet: scs apply")


def judge(found: Status) -> Check:
    """The worst of it."""
    if found.fill:
        return _fill(found.fill)
    if not found.trouble:
        return ok("storage", f"{counted(found.up, 'OSD')}, {counted(len(found.quorum), 'monitor')}")
    return (failed if found.health == "error" else warning)("storage", found.trouble, "scs storage status")


def _fill(fill: Fill) -> Check:
    said = f"{fill.level}: {fill.which}"
    return (failed if fill.refuses_writes else warning)("storage", said, f"{fill.level.meaning}: {GUIDE}")
