# SPDX-License-Identifier: Apache-2.0
"""Saves a plan to a file, to review it and apply it later. It is refused if one of its inputs has changed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.base.model import Model
from scs_deploy.base.version import version
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.region import sources
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact

FORMAT = 1
AGAIN = "make a new plan and review it: scs plan --out FILE"
"""Hint of refusals."""


class SavedPlan(Model):
    """The content of a plan file, as JSON. It holds no secret."""

    format: int = FORMAT
    scs: str = Field(description="version that saved it")
    environment: str
    made: datetime
    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    data_loss: tuple[str, ...] = ()
    inputs: dict[str, str] = Field(description="input file: SHA-256 of its content")
    plan: Plan

    @property
    def selection(self) -> Selection:
        """The part of the region that the plan covers."""
        return Selection(self.services, self.hosts, self.allow, self.data_loss)


def save(file: Path, region: Region, selection: Selection, plan: Plan) -> None:
    """Save a plan to a file that only its owner can read.

    :raises RefusedError: the file cannot be written
    """
    saved = SavedPlan(
        scs=version(), environment=region.environment.name, made=datetime.now(UTC), services=selection.services,
        hosts=selection.hosts, allow=selection.allow, data_loss=selection.data_loss, inputs=region.inputs,
        plan=plan,
    )  # fmt: skip
    try:
        file.touch(mode=0o600)
        replace(file, saved.model_dump_json(indent=2) + "\n")
        file.chmod(0o600)
    except OSError as error:
        raise RefusedError(f"{file}: {error.strerror}", "choose another file for --out") from None


def load(file: Path) -> SavedPlan:
    """Read a plan.

    :raises RefusedError: the file cannot be read, or is not a plan of this version of scs
    """
    try:
        saved = SavedPlan.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RefusedError(f"{file}: {error.strerror}", "scs plan --out FILE writes one") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise RefusedError(f"{file}: {where}: not a saved plan ({first['msg']})", "scs plan --out FILE") from None
    if (saved.format, saved.scs) != (FORMAT, version()):
        raise RefusedError(
            f"{file}: saved by scs {saved.scs}, but this is scs {version()}", "save it again: scs plan --out FILE"
        )
    return saved


def check_inputs(saved: SavedPlan, region: Region, file: Path) -> None:
    """Check that the inputs of a plan are unchanged.

    :raises RefusedError: another environment; or files were changed, added or removed, with their names
    """
    if saved.environment != region.environment.name:
        raise RefusedError(
            f"{file}: this plan is for environment {saved.environment}, not {region.environment.name}",
            f"add --environment {saved.environment}",
        )
    sources.refuse(sources.differences(saved.inputs, region.inputs), f"{file}: ", AGAIN)


def check_same(shown: Plan, current: Plan) -> None:
    """Check that a new plan has the same changes as the one that was shown.

    :raises RefusedError: the plans differ; names the changes
    """
    before, now = set(map(_identity, shown.changes)), set(map(_identity, current.changes))
    obsolete = [f"{_describe(c)} is no longer needed" for c in shown.changes if _identity(c) not in now]
    added = [f"{_describe(c)} is now needed" for c in current.changes if _identity(c) not in before]
    sources.refuse([*obsolete, *added], hint=AGAIN)


def _identity(change: Change) -> str:
    return change.model_dump_json()


def _describe(change: Change) -> str:
    return f"{change.kind.value} {change.subject} on {change.host} ({change.reason})"
