# SPDX-License-Identifier: Apache-2.0
"""Update the environment's inventory from its source: compare, check, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.environment import load as load_environment
from scs_deploy.inventory import diff, source, synced
from scs_deploy.inventory.checks import Problem, ProblemsError
from scs_deploy.inventory.diff import Diff
from scs_deploy.inventory.model import Inventory
from scs_deploy.inventory.synced import Document
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.catalog import load as load_catalog
from scs_deploy.state.lock import region_lock

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Comparison:
    """A source's inventory compared with the one in use."""

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
    """The changes that a sync would make.

    :raises RefusedError: the source rejects the request or cannot be read
    """
    environment = load_environment(name)
    catalog = load_catalog()
    answer = source.read(environment, catalog, origin, progress)
    document = answer.document.model_copy(update={"hash": synced.hash_of(answer.document)})
    old = _old(environment, catalog)
    return Comparison(
        document=document,
        diff=diff.compare(old, document.inventory(), catalog),
        problems=answer.problems,
        left_out=answer.left_out,
        requests=answer.requests,
        file=environment.path / synced.FILE,
    )


def sync(name: str | None, origin: str, progress: Progress) -> Comparison:
    """Write the source's inventory into the environment.

    :raises ProblemsError: lists all problems of the source's inventory; nothing was written
    :raises RefusedError: the source cannot be read, the file is a hand-written inventory, or a run is in progress
    """
    environment = load_environment(name)
    file = environment.path / synced.FILE
    if file.exists() and not synced.is_synced(file):
        raise RefusedError(f"{file}: is a hand-written inventory, and sync would replace it", "rename it")
    comparison = compare(name, origin, progress)
    if comparison.problems:
        raise ProblemsError(comparison.document.source, comparison.problems, ", nothing was written")
    text = synced.dump(comparison.document)
    written = not file.exists() or file.read_text(encoding="utf-8") != text
    if written:
        sharing.make_state(environment)
        # the inventory must not change during a run
        with region_lock(environment):
            synced.write(comparison.document, file)
    note = ""
    if environment.inventory != file.resolve():
        note = f"runs still use {environment.inventory}: set `inventory: {synced.FILE}` in {environment.file}"
    return replace(comparison, written=written, note=note)


def check(name: str | None) -> Checked:
    """Check the inventory in use for all problems."""
    environment = load_environment(name)
    catalog = load_catalog()
    try:
        inventory = source.load(environment, source.variables(catalog))
    except ProblemsError as error:
        return Checked(environment.inventory, "", 0, error.problems)
    problems = source.region_problems(inventory, environment, catalog)
    return Checked(environment.inventory, inventory.hash, len(inventory.hosts), tuple(problems))


def _old(environment: Environment, catalog: Catalog) -> Inventory:
    """The last synced inventory. Before the first sync: the inventory in use, or an empty one."""
    file = environment.path / synced.FILE
    if synced.is_synced(file):
        # also compare a file that was edited by hand or written by another version of scs
        return synced.load(file, trust=True).inventory()
    if environment.inventory.exists():
        return source.load(environment, source.variables(catalog))
    return Inventory(hosts={}, groups={})
