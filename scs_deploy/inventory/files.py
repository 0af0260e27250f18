# SPDX-License-Identifier: Apache-2.0
"""The files of an Ansible inventory: which ones Ansible reads, their syntax, and where a variable is set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import compose_yaml
from scs_deploy.base.reading import check_name, read_text
from scs_deploy.base.shown import shown

VAULT = "$ANSIBLE_VAULT"
"""First characters of a vault-encrypted file or value"""

_VARIABLES = ("group_vars", "host_vars")
_SUFFIXES = ("", ".yml", ".yaml", ".json")
_DOCUMENTS = (".md", ".txt", ".rst", ".rpm", ".pyc", ".pyo", ".retry")
_BACKUPS = re.compile(r"~$|\.(swp|bak|orig)$")


def _entries(path: Path) -> Iterator[Path]:
    """Everything that Ansible may open: the inventory, and the folders of variables beside a hosts file."""
    if path.is_dir():
        yield from path.rglob("*")
        return
    yield path
    for name in _VARIABLES:
        yield from (path.parent / name).rglob("*")


def hosts_files(path: Path) -> list[Path]:
    """The files that define hosts and groups.

    :raises RefusedError: the folder has a file that Ansible would skip because of its suffix
    """
    return [path] if path.is_file() else list(_hosts_files(path))


def _hosts_files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in (*_VARIABLES, "vars_plugins") or _BACKUPS.search(entry.name):
            continue
        if entry.is_dir():
            yield from _hosts_files(entry)
        elif entry.suffix in (".ini", ".cfg"):
            raise RefusedError(
                f"{entry}: Ansible skips files with the suffix {entry.suffix} in an inventory folder",
                f"rename it to {entry.stem}, or move it out of the folder",
            )
        elif entry.suffix not in _DOCUMENTS:
            yield entry


def variable_files(path: Path) -> list[Path]:
    """The YAML files in group_vars and host_vars, beside a hosts file or in an inventory folder."""
    base = path.parent if path.is_file() else path
    found = (p for name in _VARIABLES for p in sorted((base / name).rglob("*")) if p.is_file())
    return [
        p
        for p in found
        if p.suffix in _SUFFIXES
        and not p.name.endswith("~")
        and not any(part.startswith(".") for part in p.relative_to(base).parts)
    ]


def check(path: Path) -> None:
    """Check the syntax of every YAML file of an inventory.

    :raises RefusedError: a file is not YAML, repeats a key, or has a host name that is no string; names file and line
    """
    for entry in _entries(path):
        check_name(entry)
        if not entry.is_file() and not entry.is_dir():
            # Ansible would skip a link that leads nowhere, and wait for a pipe
            raise RefusedError(f"{entry}: is neither a file nor a folder", "remove it, or correct where the link leads")
    for file in hosts_files(path):
        if file.suffix in _SUFFIXES[1:]:
            node = _compose(file)
            if isinstance(node, yaml.ScalarNode) and node.value:
                # Ansible would try its parsers of other formats, which take long for a long text
                raise RefusedError(f"{file}:1: expected groups of hosts, found the text '{shown(node.value)}'")
            _names(file, node)
    for file in variable_files(path):
        _compose(file)


def _compose(file: Path) -> yaml.Node | None:
    node = compose_yaml(read_text(file), file)
    for mapping in _mappings(node):
        seen: dict[str, int] = {}
        for key, _ in mapping.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise RefusedError(
                        f"{file}:{line}: duplicate key '{shown(key.value)}', first set in line {seen[key.value]}",
                        "Ansible would use the last one only; remove one of them",
                    )
                seen[key.value] = line
    return node


def _mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """All mappings in the order of the file. An alias's mapping is visited once."""
    todo, seen = [node] if node else [], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            todo += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            todo += reversed(node.value)


def _names(file: Path, node: yaml.Node | None) -> None:
    """Refuse names of hosts and groups that YAML reads as another type: 12, 10.5, true, null."""
    groups = [("group", node)]
    while groups:
        what, found = groups.pop()
        if not isinstance(found, yaml.MappingNode):
            continue
        for key, value in found.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise RefusedError(
                    f"{file}:{key.start_mark.line + 1}: {what} name {shown(key.value)} is not a string for YAML",
                    "quote it",
                )
            if what == "group" and isinstance(value, yaml.MappingNode):
                for part, content in value.value:
                    if part.value in ("hosts", "children"):
                        groups.append(("host" if part.value == "hosts" else "group", content))


def _host_lines(file: Path, name: str) -> Iterator[int]:
    for mapping in _mappings(_compose(file)):
        for key, value in mapping.value:
            if key.value == "hosts" and isinstance(value, yaml.MappingNode):
                yield from (k.start_mark.line + 1 for k, _ in value.value if k.value == name)


def _first_words(file: Path, name: str) -> Iterator[int]:
    return (n for n, line in enumerate(read_text(file).splitlines(), 1) if line.split()[:1] == [name])


def encrypted(path: Path) -> str:
    """`file:line` of the first vault-encrypted file or value; empty if nothing is encrypted."""
    for file in (*hosts_files(path), *variable_files(path)):
        head, found, _ = read_text(file).partition(VAULT)
        if found:
            return f"{file}:{head.count(chr(10)) + 1}"
    return ""


class Sources:
    """Locates an inventory's variables. Each file is read once, on first use."""

    def __init__(self, path: Path, places: Mapping[str, Mapping[str, str]]) -> None:
        """:param places: host: variable: `file:line` of its value, where Ansible knows it"""
        self._path, self._places = path, places

    @cached_property
    def _files(self) -> list[Path]:
        files = {*hosts_files(self._path), *variable_files(self._path)}
        return sorted(files, key=lambda p: ("host_vars" not in p.parts, str(p)))

    @cached_property
    def _own(self) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = {}
        for file in self._files:
            name = file.parent.name if file.parent.parent.name in _VARIABLES else file.stem
            by_name.setdefault(name, []).append(file)
        return by_name

    @cached_property
    def _lines(self) -> dict[Path, dict[str, int]]:
        return {}

    def find(self, host: str, key: str) -> str:
        """`file:line` of the variable in its source of highest precedence; the inventory's first line as a fallback."""
        if at := self._places.get(host, {}).get(key):
            # the key's line: the value of a mapping begins below it
            file = Path(at.rpartition(":")[0])
            return f"{file}:{line}" if (line := self._keys(file).get(key)) else at
        for file in (*self._own.get(host, ()), *self._files):
            if line := self._keys(file).get(key):
                return f"{file}:{line}"
        return f"{self._path}:1"

    def host(self, name: str) -> str:
        """`file:line` where the inventory defines a host; the inventory's first line as a fallback."""
        for file in hosts_files(self._path):
            lines = _host_lines(file, name) if file.suffix in _SUFFIXES[1:] else _first_words(file, name)
            if line := next(lines, 0):
                return f"{file}:{line}"
        return f"{self._path}:1"

    def _keys(self, file: Path) -> dict[str, int]:
        if file not in self._lines:
            try:
                node = compose_yaml(read_text(file), file)
            except RefusedError:
                node = None
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            self._lines[file] = {k.value: k.start_mark.line + 1 for k, _ in pairs}
        return self._lines[file]
