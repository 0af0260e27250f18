# SPDX-License-Identifier: Apache-2.0
"""Upgrades a region to its latest images in one measured run, and validates it afterwards."""

from __future__ import annotations

from collections.abc import Callable

from scs_deploy import validate
from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.engine.events import Checked, ImagesBuilt, ImageStep, Note, Stage, Watch, guarded, ignore
from scs_deploy.environment.environment import Environment
from scs_deploy.images.build import RegionImages
from scs_deploy.images.events import Event
from scs_deploy.operations.apply import Applied, ApplyRequest, Converge
from scs_deploy.operations.base import always_agree, latest
from scs_deploy.operations.upgrade.schedule import FAILED_AT_NIGHT, check_unattended
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import Run


class UpgradeRequest(ApplyRequest):
    """How to bring a region to its release lock."""

    images: bool = False
    """build images from the newest packages first"""
    unattended: bool = False
    """no operator is present: refuse to start if the last run is unfinished, and pause early"""
    validation: bool = True
    """validate the region after the upgrade"""


class DailyUpgrade(Converge[UpgradeRequest]):
    """Upgrades a region to the images of its release lock, host by host and measured, then validates it."""

    name = "upgrade"
    requests = UpgradeRequest

    def __init__(self, region: Region, request: UpgradeRequest, command: str = "") -> None:
        probe = request.probe
        if request.unattended and probe.enabled and probe.max_failed is None:
            probe = probe.model_copy(update={"max_failed": FAILED_AT_NIGHT})
        super().__init__(region, request.model_copy(update={"probe": probe}), command)
        # a line without effect in an override is no reason to go without security updates
        self.strict = not request.unattended

    def run(
        self,
        watch: Watch = ignore,
        confirm: Callable[[Plan], bool] = always_agree,
        plan: Plan | None = None,
        resumed: Run | None = None,
    ) -> Applied:
        """See Operation.

        :raises ScsError: a change or a check of the validation failed
        """
        if resumed is None:
            self._prepare(guarded(watch))
        done = super().run(watch, confirm, plan, resumed)
        if done.run and self.request.validation:
            validate_region(self.region.environment, done.run, guarded(watch))
        return done

    def _prepare(self, watch: Watch) -> None:
        environment = self.region.environment
        if self.request.unattended:
            check_unattended(latest(environment))
            check_free(environment)
        if self.request.images:
            build_images(environment, watch, PATIENCE if self.request.unattended else None)
            if self.request.unattended:
                # a run may have failed while images were built
                check_unattended(latest(environment))
            # the release lock has changed
            self.region = Region.load(environment.name)


PATIENCE = 3600.0
"""Seconds that an upgrade at night waits for a run to end before it writes the release lock."""


def check_free(environment: Environment) -> None:
    """Refuse an upgrade at night while another run holds the region, before it spends an hour building images.

    :raises RefusedError: names the run
    """
    with region_lock(environment):
        pass


def build_images(environment: Environment, watch: Watch, patience: float | None = None) -> None:
    """Build and push images from the newest packages, and write the release lock once no run uses it.

    :param patience: seconds to wait for such a run; None: as long as it takes
    :raises ScsError: an image cannot be built, or the release lock is in use
    """
    watch(Stage("building images"))

    def tell(event: Event) -> None:
        watch(ImageStep(event.image, event.state, event.step, event.seconds))

    result = RegionImages(environment, tell, patience=patience).build()
    watch(ImagesBuilt(tuple(result.difference)))


def validate_region(environment: Environment, run: str, watch: Watch) -> None:
    """Validate the region after an upgrade.

    :param run: the run that changed it
    :raises ScsError: a check failed
    """

    def show(name: str, result: validate.Result | None) -> None:
        if result is None:
            watch(Stage(f"validating: {name}"))
        else:
            watch(Checked(name, result.verdict, result.seconds, result.message))

    report = validate.run(environment, on_progress=show)
    if not report.passed:
        failed = ", ".join(r.check for r in report.results if r.verdict is validate.Verdict.FAILED)
        raise ScsError(
            f"upgraded, but validation failed: {failed}",
            f"scs validate; scs rollback {run} returns to the earlier images",
        )
    watch(Note(f"validated: {counted(report.count(validate.Verdict.PASSED), 'check')} passed"))
