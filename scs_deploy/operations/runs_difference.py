# SPDX-License-Identifier: Apache-2.0
"""What differs between two runs: their inputs, and what they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.environment import overrides
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.release_lock import written
from scs_deploy.images.difference import ImageChange, difference
from scs_deploy.state import snapshot
from scs_deploy.state.runs import Run


class Versions(Model):
    """A property of both runs that differs."""

    name: str
    old: str
    new: str


class RunsDifference(Model):
    """From run `old` to run `new`."""

    old: str
    new: str
    versions: tuple[Versions, ...] = Field(description="e.g. of scs, inventory, environment.yml")
    images: tuple[ImageChange, ...] = Field(description="that the newer run's release lock has otherwise")
    overrides: tuple[str, ...] = Field(description="`file: key old -> new`, without secrets")
    only_old: tuple[str, ...] = Field(description="changes that only the older run planned: `host kind subject`")
    only_new: tuple[str, ...]
    unknown: tuple[str, ...] = Field(description="what cannot be compared, and why")


def compare(
    environment: Environment, old: Run, new: Run, planned: Mapping[str, Iterable[Mapping[str, Any]]],
    secrets: Iterable[str],
) -> RunsDifference:  # fmt: skip
    """Compare two runs of a region.

    :param planned: run id: the changes of its plan
    :param secrets: values to hide
    """
    versions = [("scs", old.scs, new.scs), ("inventory", old.inventory, new.inventory)]
    unknown: list[str] = []
    before, after = (_inputs(environment, run, unknown) for run in (old, new))
    images: tuple[ImageChange, ...] = ()
    lines: list[str] = []
    if before and after:
        versions.append(("environment.yml", before.about.settings, after.about.settings))
        versions.append(("service specs", before.about.specs, after.about.specs))
        versions.append(("own services and images", before.about.own or "none", after.about.own or "none"))
        images = difference(written(environment, before.lock), written(environment, after.lock))
        lines = _overrides(before.overrides(), after.overrides(), tuple(secrets))
    one, other = ({_named(c) for c in planned[run.id]} for run in (old, new))
    return RunsDifference(
        old=old.id, new=new.id,
        versions=tuple(Versions(name=n, old=a or "unknown", new=b or "unknown") for n, a, b in versions if a != b),
        images=images, overrides=tuple(lines), only_old=tuple(sorted(one - other)),
        only_new=tuple(sorted(other - one)), unknown=tuple(unknown),
    )  # fmt: skip


def _inputs(environment: Environment, run: Run, unknown: list[str]) -> snapshot.Snapshot | None:
    try:
        return snapshot.load(environment, run.inputs)
    except RefusedError as error:
        unknown.append(f"inputs of run {run.id}: {error.message}")
        return None


def _overrides(old: Mapping[str, bytes], new: Mapping[str, bytes], secrets: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            continue
        before, after = (side.get(path, b"").decode(errors="replace") for side in (old, new))
        found = overrides.differences(before, after, overrides.file_format(path), secrets)
        lines += [f"{path}: {line}" for line in found]
    return lines


def _named(change: Mapping[str, Any]) -> str:
    return f"{change['host']} {change['kind']} {change['subject']}"
