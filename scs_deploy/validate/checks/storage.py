# SPDX-License-Identifier: Apache-2.0
"""Check the region's Ceph: that it is well, and has room."""

from __future__ import annotations

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired.listeners import settings_of
from scs_deploy.region import ceph
from scs_deploy.shared.ceph.status import Status
from scs_deploy.validate import measure
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check


@check("storage", budget=10.0)
def storage(region: Region) -> Outcome:
    """Ceph is well: quorum, OSDs, all copies of all data there, and room for more."""
    found: list[Status | None] = []
    samples = [measure.seconds(lambda: found.append(_look(region)))]
    if not (status := found[0]):
        raise NotApplicableError("the region has no Ceph")
    if problem := status.trouble:
        raise CheckFailedError(problem)
    slow = f"; {status.slow}" if status.slow else ""
    return Outcome(f"{status.up} OSDs, {len(status.quorum)} monitors{slow}", samples)


@check("storage-writes")
def storage_writes(region: Region) -> Outcome:
    """Ceph takes writes. While it is full, the checks that write to it would wait for minutes."""
    status = _look(region)
    if status is None:
        return Outcome("the region has no Ceph")
    expect_writes(region)
    return Outcome(status.fill.line if status.fill else "there is room")


def expect_writes(region: Region, setting: str = "") -> None:
    """Fail a check that would write to a full Ceph, and wait for it.

    :param setting: whose value `rbd` sends the data there; empty: it is there in any case
    :raises CheckFailedError: says what is full, and what to do
    """
    if not ceph.enabled(region.description) or (setting and not uses_ceph(region, setting)):
        return
    status = _look(region)
    if status and status.fill and status.fill.refuses_writes:
        raise CheckFailedError(status.fill.line)


def uses_ceph(region: Region, setting: str) -> bool:
    """Whether a setting, e.g. `glance_store`, is `rbd` on some host."""
    hosts = region.description.inventory.hosts.values()
    return any(settings_of(region.description, h).get(setting) == "rbd" for h in hosts)


def _look(region: Region) -> Status | None:
    try:
        return region.storage
    except RefusedError:
        raise
    except ScsError as error:
        raise CheckFailedError(str(error)) from None
