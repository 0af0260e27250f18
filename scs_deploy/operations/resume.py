# SPDX-License-Identifier: Apache-2.0
"""Which operation goes on with a run that was paused, failed or interrupted."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations.apply import Apply
from scs_deploy.operations.base import Operation, check_resumable, latest
from scs_deploy.operations.host_network import ChangeHostNetworks
from scs_deploy.operations.rotate.rotation import RunRotation
from scs_deploy.operations.upgrade.daily import DailyUpgrade
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region.region import Region
from scs_deploy.state.runs import Run, run_store

RESUMABLE: dict[str, type[Operation[Any, Any, Any]]] = {
    o.name: o for o in (Apply, DailyUpgrade, RunRotation, ChangeHostNetworks)
}
"""By the name in their runs' records."""


def resumption(
    region: Region, run: str | None, probe: ProbeOptions | None = None
) -> tuple[Operation[Any, Any, Any], Run]:
    """`operation, run = resumption(...)`; `operation.run(watch, confirm, resumed=run)` goes on with the run.

    :param run: its id; None: the latest that changes the region
    :param probe: instead of the options that the run had
    :raises RefusedError: there is no such run, it cannot be resumed, or another one came after it
    """
    with run_store(region.environment) as store:
        found = store.get(run, changing=True)
    check_resumable(found, latest(region.environment))
    kind = RESUMABLE.get(found.operation)
    if kind is None:
        raise RefusedError(f"run {found.id}: this scs knows no operation '{found.operation}'", f"`{found.command}`")
    try:
        request = kind.requests.model_validate_json(found.resume)
    except ValidationError:
        said = f"run {found.id}: another version of scs ({found.scs or 'an older one'}) recorded what is left of it"
        raise RefusedError(said, f"resume it with that, or repeat `{found.command}`") from None
    if probe is not None and "probe" in kind.requests.model_fields:
        request = request.model_copy(update={"probe": probe})
    return kind(region, request, found.command), found
