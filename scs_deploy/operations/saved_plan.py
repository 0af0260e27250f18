# SPDX-License-Identifier: Apache-2.0
"""A plan in a file: reviewed now, applied later, and only if nothing that it was computed from has changed."""

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
from scs_deploy.region.inputs import spec_files
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.spec.container import Impact

FORMAT = 1
SHOWN = 3
"""Differences that a refusal names; it counts the rest."""


class SavedPlan(Model):
    """The content of a plan file, JSON. It holds no secret."""

    format: int = FORMAT
    scs: str = Field(description="version that made it")
    environment: str
    made: datetime
    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    inputs: dict[str, str] = Field(description="file that the plan was computed from: SHA-256 of its content")
    plan: Plan

    @property
    def selection(self) -> Selection:
        """The part of the region that the plan is about."""
        return Selection(self.services, self.hosts, self.allow)


def save(file: Path, region: Region, selection: Selection, plan: Plan) -> None:
    """Write a plan, readable by its owner only.

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

    :raises RefusedError: it cannot be read, or is not a plan of this version of scs
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
        raise RefusedError(f"{file}: made by scs {saved.scs}, this is {version()}", "scs plan --out FILE, again")
    return saved


def inputs(region: Region) -> dict[str, str]:
    """SHA-256 of each file that a plan is computed from, by its path below the checkout or as it is."""
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
        paths.root() / "releases" / f"{region.release.name}.yml",
    ]
    return {_name(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files) if f.is_file()}


def check_inputs(saved: SavedPlan, region: Region, file: Path) -> None:
    """Nothing that the plan was computed from may have changed.

    :raises RefusedError: another environment, or the files that changed, appeared or are gone
    """
    if saved.environment != region.environment.name:
        raise RefusedError(
            f"{file}: a plan of environment {saved.environment}, not of {region.environment.name}",
            f"add --environment {saved.environment}",
        )
    now = inputs(region)
    differ = [
        f"{name} {'changed' if name in now and name in saved.inputs else 'is new' if name in now else 'is gone'}"
        for name in sorted(saved.inputs.keys() | now.keys())
        if saved.inputs.get(name) != now.get(name)
    ]
    _refuse(f"{file}: ", differ)


def check_same(then: Plan, now: Plan) -> None:
    """A region must still differ from its description as it did when a plan was made.

    :raises RefusedError: naming the changes that came or went since
    """
    before, present = set(map(_identity, then.changes)), set(map(_identity, now.changes))
    gone = [f"{_say(c)} is no longer to be done" for c in then.changes if _identity(c) not in present]
    come = [f"{_say(c)} is to be done now" for c in now.changes if _identity(c) not in before]
    _refuse("", [*gone, *come])


def _identity(change: Change) -> str:
    return change.model_dump_json()


def _say(change: Change) -> str:
    return f"{change.kind.value} {change.subject} on {change.host} ({change.reason})"


def _refuse(where: str, differ: list[str]) -> None:
    if differ:
        more = f"; and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        raise RefusedError(
            f"{where}the region is not as it was when this was planned: {'; '.join(differ[:SHOWN])}{more}",
            "scs plan --out FILE, and look again",
        )


def _below(path: Path) -> Iterable[Path]:
    return [path] if path.is_file() else (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _name(file: Path) -> str:
    return str(file.relative_to(paths.root())) if file.is_relative_to(paths.root()) else str(file)
