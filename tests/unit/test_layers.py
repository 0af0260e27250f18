# SPDX-License-Identifier: Apache-2.0
"""The manager is a house: each room imports from lower floors only, at the top of a file, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import scs_deploy

ROOT = Path(scs_deploy.__file__).parent

FLOORS = (
    {"base"},
    {"spec"},
    {"environment"},
    {"secrets", "state"},
    {"inventory", "images"},
    {"region"},
    {"desired"},
    {"observed"},
    {"plan"},
    {"shared"},
    {"engine"},
    {"clusters", "host", "prober", "validate"},
    {"operations"},
    {"testbed", "doctor"},
    {"api"},
    {"cli"},
)
"""Rooms from the ground up. A room may import from its own and from lower floors' rooms."""

LONGEST = 60
"""Lines of a function."""


class Import(NamedTuple):
    """One import of a module of ours."""

    importer: str
    imported: str
    line: int
    top: bool
    """at the top of the file, where everybody sees it"""


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(p): p for p in sorted(ROOT.rglob("*.py"))}


def _imports(module: str) -> Iterator[Import]:
    def walk(node: ast.AST, top: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ImportFrom) and child.module and child.module.partition(".")[0] == "scs_deploy":
                base = child.module.partition(".")[2]
                for alias in child.names:
                    full = f"{base}.{alias.name}".strip(".")
                    yield Import(module, full if full in MODULES else base, child.lineno, top)
            yield from walk(child, top and not isinstance(child, (ast.FunctionDef, ast.If)))

    yield from walk(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)


IMPORTS = [i for m in MODULES for i in _imports(m)]


def _room(module: str) -> str:
    return module.partition(".")[0]


def _floor(room: str) -> int:
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_a_floor() -> None:
    rooms = {_room(m) for m in MODULES if m}
    assert rooms <= set().union(*FLOORS), "add the new room to FLOORS"
    assert not [p.name for p in ROOT.glob("*.py") if p.name != "__init__.py"], "every module lives in a room"


def test_nothing_imports_upward() -> None:
    upward = [
        f"{i.importer}:{i.line} imports {i.imported}"
        for i in IMPORTS
        if _room(i.imported) != _room(i.importer) and _floor(_room(i.imported)) >= _floor(_room(i.importer))
    ]
    assert upward == []


def test_only_commands_import_late() -> None:
    """A command loads what it needs when it runs; elsewhere an import inside a function hides an arrow."""
    late = [f"{i.importer}:{i.line} imports {i.imported}" for i in IMPORTS if not i.top and _room(i.importer) != "cli"]
    assert late == []


def test_no_import_circle() -> None:
    graph = {m: {i.imported for i in IMPORTS if i.importer == m} - {m} for m in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= LONGEST
    ]
    assert long == []
