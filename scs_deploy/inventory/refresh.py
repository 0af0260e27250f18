# SPDX-License-Identifier: Apache-2.0
"""Bringing the environment's inventory up to date with its source: compare, check, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import diff, source, synced
from scs_deploy.inventory.checks import Problem, ProblemsError
from scs_deploy.inventory.diff import Diff
from scs_deploy.inventory.model import Inventory
from scs_deploy.inventory.synced import Document
from scs_deploy.spec import catalog as catalogs
from scs_deploy.state.lock import region_lock

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Comparison:
    """A source's inventory beside the one in use."""

    document: Document
    diff: Diff
    problems: tuple[Problem, ...]
    left_out: dict[str, int]
    requests: int
    file: Path
    written: bool = False
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        document = self.document
        return {
            "source": document.source,
            "version": document.version,
            "changed": document.changed,
            "hash": document.hash,
            "hosts": len(document.hosts),
            "left_out": self.left_out,
            "requests": self.requests,
            "file": str(self.file),
            "written": self.written,
            "diff": self.diff.model_dump(mode="json"),
            "problems": [str(p) for p in self.problems],
        }


@dataclass(frozen=True)
class Checked:
    """The inventory in use."""

    file: Path
    hash: str
    hosts: int
    problems: tuple[Problem, ...]


def compare(name: str | None, origin: str, progress: Progress) -> Comparison:
    """What a sync would change.

    :raises RefusedError: the source refuses or cannot be read
    """
    environment = environments.load(name)
    catalog = catalogs.load()
    found = source.read(environment, catalog, origin, progress)
    document = found.document.model_copy(update={"hash": synced.hash_of(found.document)})
    old = _old(environment, catalog)
    return Comparison(
        document=document,
        diff=diff.compare(old, document.inventory(), catalog),
        problems=found.problems,
        left_out=found.left_out,
        requests=found.requests,
        file=environment.path / synced.FILE,
    )


def sync(name: str | None, origin: str, progress: Progress) -> Comparison:
    """Write the source's inventory into the environment.

    :raises ProblemsError: with everything that is wrong; nothing was written
    :raises RefusedError: the source cannot be read, another inventory is in the way, or a run goes on
    """
    environment = environments.load(name)
    file = environment.path / synced.FILE
    if file.exists() and not synced.is_synced(file):
        raise RefusedError(f"{file}: is an inventory written by hand, and sync would replace it", "rename it")
    found = compare(name, origin, progress)
    if found.problems:
        raise ProblemsError(found.document.source, found.problems, ", nothing was written")
    text = synced.dump(found.document)
    written = not file.exists() or file.read_text(encoding="utf-8") != text
    if written:
        environment.state.mkdir(mode=0o700, exist_ok=True)
        # a run goes by one inventory from its plan to its end
        with region_lock(environment):
            synced.write(found.document, file)
    note = ""
    if environment.inventory != file.resolve():
        note = f"runs still go by {environment.inventory}: set `inventory: {synced.FILE}` in {environment.file}"
    return Comparison(**{**found.__dict__, "written": written, "note": note})


def check(name: str | None) -> Checked:
    """Everything that is wrong with the inventory in use."""
    environment = environments.load(name)
    catalog = catalogs.load()
    try:
        inventory = source.load(environment, source.variables(catalog))
    except ProblemsError as error:
        return Checked(environment.inventory, "", 0, error.problems)
    problems = source.region_problems(inventory, environment, catalog)
    return Checked(environment.inventory, inventory.hash, len(inventory.hosts), tuple(problems))


def _old(environment: Environment, catalog: catalogs.Catalog) -> Inventory:
    """The last synced inventory; before the first sync the one in use, and before that none."""
    file = environment.path / synced.FILE
    if synced.is_synced(file):
        # one that was edited by hand or by another release is compared as far as it can be read
        return synced.load(file, trust=True).inventory()
    if environment.inventory.exists():
        return source.load(environment, source.variables(catalog))
    return Inventory(hosts={}, groups={})
