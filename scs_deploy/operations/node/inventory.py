# SPDX-License-Identifier: Apache-2.0
"""Where an inventory names a host, so that an operator can take it out without losing a comment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml


def mentions(inventory: Path, host: str) -> list[str]:
    """`file:line` of every key or entry that is the host, and its file in host_vars.

    :param inventory: an inventory file, or a folder of them
    """
    files = [inventory] if inventory.is_file() else sorted(p for p in inventory.rglob("*") if p.is_file())
    found = []
    for file in files:
        if "host_vars" in file.parts and host in (file.stem, *file.parts):
            found.append(str(file))
        elif file.suffix in (".yml", ".yaml"):
            found += [f"{file}:{line}" for line in _lines(file, host)]
        else:
            words = enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
            found += [f"{file}:{n}" for n, line in words if line.split()[:1] == [host]]
    return found


def _lines(file: Path, host: str) -> list[int]:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return []
    return sorted(_walk(node, host)) if node else []


def _walk(node: yaml.Node, host: str) -> Iterator[int]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == host:
                yield key.start_mark.line + 1
            yield from _walk(value, host)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.ScalarNode) and item.value == host:
                yield item.start_mark.line + 1
            yield from _walk(item, host)
