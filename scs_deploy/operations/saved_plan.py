# SPDX-License-Identifier: Apache-2.0
"""Saves a plan to a file, to review it and apply it later. It is refused if one of its inputs has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.base.model import Model
from scs_deploy.base.version import version
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.region.inputs import own_files, spec_files
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact

FORMAT = 1
SHOWN = 3
"""Differences that an error message names; it only counts the rest."""


class SavedPlan(Model):
    """The content of a plan file, as JSON. It holds no secret."""

    format: int = FORMAT
    scs: str = Field(description="version that saved it")
    environment: str
    made: datetime
    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    inputs: dict[str, str] = Field(description="input file: SHA-256 of its content")
    plan: Plan

    @property
    def selection(self) -> Selection:
        """The part of the region that the plan covers."""
        return Selection(self.services, self.hosts, self.allow)


def save(file: Path, region: Region, selection: Selection, plan: Plan) -> None:
    """Save a plan to a file that only its owner can read.

    :raises RefusedError: the file cannot be written
    """
    saved = SavedPlan(
        scs=version(), environment=region.environment.name, made=datetime.now(UTC), services=selection.services,
        hosts=selection.hosts, allow=selection.allow, inputs=inputs(region), plan=plan,
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


def inputs(region: Region) -> dict[str, str]:
    """SHA-256 of each input file of a plan, by its path, which is relative to the checkout if it is in there."""
    environment = region.environment
    single = (
        environment.file, environment.lock_file, environment.secrets_file, environment.certificates_file,
        environment.ca_file,
    )  # fmt: skip
    files = [
        *single,
        *_below(environment.inventory),
        *(region.overrides.directory / f for f in region.overrides.files),
        *spec_files(region).values(),
        *own_files(region).values(),
        paths.root() / "releases" / f"{region.release.name}.yml",
    ]
    return {_name(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files) if f.is_file()}


def check_inputs(saved: SavedPlan, region: Region, file: Path) -> None:
    """Check that the inputs of a plan are unchanged.

    :raises RefusedError: another environment; or files were changed, added or removed, with their names
    """
    if saved.environment != region.environment.name:
        raise RefusedError(
            f"{file}: this plan is for environment {saved.environment}, not {region.environment.name}",
            f"add --environment {saved.environment}",
        )
    current = inputs(region)
    differ = [
        f"{name} was {'added' if name not in saved.inputs else 'removed' if name not in current else 'changed'}"
        for name in sorted(saved.inputs.keys() | current.keys())
        if saved.inputs.get(name) != current.get(name)
    ]
    _refuse(f"{file}: ", differ)


def check_same(shown: Plan, current: Plan) -> None:
    """Check that a new plan has the same changes as the one that was shown.

    :raises RefusedError: the plans differ; names the changes
    """
    before, now = set(map(_identity, shown.changes)), set(map(_identity, current.changes))
    obsolete = [f"{_describe(c)} is no longer needed" for c in shown.changes if _identity(c) not in now]
    added = [f"{_describe(c)} is now needed" for c in current.changes if _identity(c) not in before]
    _refuse("", [*obsolete, *added])


def _identity(change: Change) -> str:
    return change.model_dump_json()


def _describe(change: Change) -> str:
    return f"{change.kind.value} {change.subject} on {change.host} ({change.reason})"


def _refuse(where: str, differ: list[str]) -> None:
    if differ:
        more = f"; and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        raise RefusedError(
            f"{where}the region has changed since this plan was made: {'; '.join(differ[:SHOWN])}{more}",
            "make a new plan and review it: scs plan --out FILE",
        )


def _below(path: Path) -> Iterable[Path]:
    return [path] if path.is_file() else (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _name(file: Path) -> str:
    return str(file.relative_to(paths.root())) if file.is_relative_to(paths.root()) else str(file)
