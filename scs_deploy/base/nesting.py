# SPDX-License-Identifier: Apache-2.0
"""Limits of YAML documents, so that none can exhaust the process's stack or memory."""

from __future__ import annotations

import re

import yaml

LARGEST = 1_000_000
"""Values of a document with all aliases resolved. Aliases of aliases would otherwise fill the memory."""

DEEPEST = 100
"""Levels of a document. Python's own limit is not far above."""

_OPEN = 1000
"""Unclosed brackets of a text. libyaml's loader needs its process's stack for each, and crashes at its end."""


def check_text(text: str) -> None:
    """:raises MarkedYAMLError: so many brackets or dashes open one in another that the loader would crash"""
    depth = 0
    for found in re.finditer(r"[\[\]{}]", text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > _OPEN:
            raise _error("too many unclosed brackets", text, found.start())
    if deep := re.search(rf"([-?][ \t]+){{{_OPEN}}}", text):
        raise _error("too many levels in one line", text, deep.start())


def _error(problem: str, text: str, at: int) -> yaml.MarkedYAMLError:
    mark = yaml.Mark("", at, text.count("\n", 0, at), 0, None, 0)
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def check_nodes(root: yaml.Node | None) -> None:
    """:raises MarkedYAMLError: too many levels, an alias that contains itself, or aliases that fill the memory"""
    sizes: dict[int, int] = {}
    above: set[int] = set()
    todo = [(root, False)] if root is not None else []
    while todo:
        node, measured = todo.pop()
        if len(above) > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels", problem_mark=node.start_mark)
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        if measured:
            above.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
            if sizes[id(node)] > LARGEST:
                raise yaml.MarkedYAMLError(problem="its aliases are too large", problem_mark=node.start_mark)
        elif id(node) in above:
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
        elif id(node) not in sizes:
            above.add(id(node))
            todo.append((node, True))
            todo += [(part, False) for part in parts if id(part) not in sizes]
