# SPDX-License-Identifier: Apache-2.0
"""Finds the operation that can continue a run that was paused, failed or was interrupted."""

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
"""Operations by their name in run records."""


def resumption(
    region: Region, run: str | None, probe: ProbeOptions | None = None
) -> tuple[Operation[Any, Any, Any], Run]:
    """`operation, run = resumption(...)`; `operation.run(watch, confirm, resumed=run)` continues the run.

    :param run: its id; None: the latest that changes the region
    :param probe: replaces the prober's settings of the run
    :raises RefusedError: the run does not exist, cannot be resumed, or is not the latest
    """
    with run_store(region.environment) as store:
        record = store.get(run, changing=True)
    check_resumable(record, latest(region.environment))
    kind = RESUMABLE.get(record.operation)
    if kind is None:
        raise RefusedError(
            f"run {record.id}: this version of scs has no operation '{record.operation}'", f"repeat `{record.command}`"
        )
    try:
        request = kind.requests.model_validate_json(record.resume)
    except ValidationError:
        raise RefusedError(
            f"run {record.id} was started by another version of scs ({record.scs or 'an older one'})",
            f"resume it with that version, or repeat `{record.command}`",
        ) from None
    if probe is not None and "probe" in kind.requests.model_fields:
        request = request.model_copy(update={"probe": probe})
    return kind(region, request, record.command), record
