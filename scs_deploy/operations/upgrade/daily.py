# SPDX-License-Identifier: Apache-2.0
"""The daily upgrade: images of today, one measured run, then the region is used as its users use it."""

from __future__ import annotations

from collections.abc import Callable

from scs_deploy import validate
from scs_deploy.base.errors import ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.images.build import RegionImages
from scs_deploy.images.difference import ImageChange
from scs_deploy.images.events import Event
from scs_deploy.operations.apply import Apply, ApplyRequest
from scs_deploy.operations.upgrade.schedule import FAILED_AT_NIGHT, check_unattended, latest
from scs_deploy.region.region import Region
from scs_deploy.validate import Report, Result, Verdict


class UpgradeRequest(ApplyRequest):
    """What `scs upgrade run` is asked for."""

    images: bool = False
    """first build images from today's packages"""
    unattended: bool = False
    """nobody watches: refuse to begin where the last run did not reach its end, pause after too many failed requests"""


class DailyUpgrade(Apply):
    """Bring a region to its release lock."""

    name = "upgrade"


def prepare(environment: Environment, request: UpgradeRequest) -> ApplyRequest:
    """Check that the upgrade may begin; returns what is to be applied.

    :raises RefusedError: it is unattended, and the last run did not reach its end
    """
    probe = request.probe
    if request.unattended:
        check_unattended(latest(environment))
        if probe.max_failed is None and probe.enabled:
            probe = probe.model_copy(update={"max_failed": FAILED_AT_NIGHT})
    return ApplyRequest(services=request.services, hosts=request.hosts, allow=request.allow, probe=probe)


def build_images(environment: Environment, watch: Callable[[Event], None]) -> tuple[ImageChange, ...]:
    """Build images from today's packages, and push them; returns what changed in the release lock."""
    return tuple(RegionImages(environment, watch).build().difference)


def upgrade(environment: Environment, request: ApplyRequest, command: str) -> DailyUpgrade:
    """The operation, on the region as its lock says now."""
    return DailyUpgrade(Region.load(environment.name), request, command)


def validate_region(environment: Environment, run: str, watch: Callable[[str, Result | None], None]) -> Report:
    """Use the region as its users do, after an upgrade.

    :param run: of the upgrade, for the hint
    :raises ScsError: a check failed
    """
    report = validate.run(environment, on_progress=watch)
    if not report.passed:
        failed = ", ".join(r.check for r in report.results if r.verdict is Verdict.FAILED)
        raise ScsError(f"upgraded, but validation failed: {failed}", f"scs validate; scs rollback {run} goes back")
    return report
