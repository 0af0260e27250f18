# SPDX-License-Identifier: Apache-2.0
"""Ways in which a file goes wrong: as bytes, as lines, as YAML, and in the file system."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import parse_yaml

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10, 2**63, 10**400, 1.5, float("inf"), float("nan"), "", " ", "a", "no", "10", "1_000",
    "a b", "a\nb", "\t", "é", "\u2028", "\U0001f600", "x" * 5000, "../..", "/", ".", "/dev/null", "/proc/self/mem",
    "ha-1", "all", "{{ x }}", "{{", "{% for", "{{ 1/0 }}", "%s", "%(a)s", "$x", "'", '"', "\\", "#", "=", ":", "[]",
    "192.0.2.1", "::1", "172.30.2.0/24", "172.30.2.12/24", "0.0.0.0/0", "00:00:00:00:00:00", [], {}, [None], [[]],
    {"a": 1}, {1: 2},
    {None: None}, ["a", "a"], {"": ""}, [1, "a", None], {"x": {"y": {"z": []}}},
)  # fmt: skip
"""What stands where something else belongs."""

LINES = (
    "<<: 1", "<<: *missing", "<<: {a: 1}", "<<: [{a: 1}, {b: 2}]", "zz: &a [*a]", "zz: &a {b: *a}", "? [1, 2]\n: 3",
    "? {a: 1}\n: 3", "---", "...", "--- !!set {a}", "zz: !vault x", "zz: !unsafe x", "zz: !!python/object:os.system x",
    "zz: !!binary x", "zz: !!timestamp x", "zz: !!int x", "zz: !!float x", "zz: 2001-99-99", "zz: 2001-01-01",
    "zz: 0o9", "zz: 1:60", "zz: .nan", "%YAML 9.9", "%TAG ! x", "- a", "a", "a:", ":", "? ", "[", "]", "{", "}", "!",
    "&", "*", "|", ">", "@", "`", "\ta: 1", "  a: 1", "'", '"', "[DEFAULT]", "[", "[]", "[a] b", "= 1", "a = 1",
    "!include x",
    "zz: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  61", "$ANSIBLE_VAULT;1.1;AES256\n61", "\x00", "\x0c", "\x85",
    "\ufeff", "#", "\\", "a: &b 1\nc: *b", "hosts: {a: {b: {c: {}}}}", "children: {control: {children: {all: {}}}}",
)  # fmt: skip
"""What is written into the middle of a file."""

BYTES = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\t", b"\r", b"\x1b", b"\xef\xbb\xbf", b"\x7f"
)  # fmt: skip

NAMES = (
    "a b.yml", "a\nb.conf", "é.conf", ".hidden", "x.conf~", "keystone.conf", "zz.conf", "all.yml", "x", "x.sh", "x.ini",
    "x.json", "-x.yml", "{{x}}.yml", "0.yml", "ha-1.yml", "ha-1", "x" * 200,
)  # fmt: skip


WHOLE = (
    b"", b"\n", b"---\n", b"null\n", b"[]\n", b"{}\n", b"a\n", b"1\n", b"\xff\xfe", b"[" * 1500, b"{a: " * 1500,
    b"- " * 1500, b"a:\n" * 3000, b"[a]\n" * 3000, b"x" * 10**4,
)  # fmt: skip
"""What takes the place of a whole file."""


def mutate(data: bytes, random: Random) -> bytes:
    """Other bytes for a file."""
    done = data
    for _ in range(random.choice((1, 1, 1, 1, 2, 4))):
        done = random.choice(CONTENT)(done, random)
    return done


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\x01"
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(BYTES) + data[at:]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _whole(_data: bytes, random: Random) -> bytes:
    large = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("j"))
    )
    return random.choice((*WHOLE, large))


def _line(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b"\n"]
    at = random.randrange(len(lines))
    line = lines[at]
    other = random.randrange(len(lines))
    new = random.choice(LINES).encode() + b"\n"
    choice = random.randrange(9)
    if choice == 0:
        del lines[at]
    elif choice == 1:
        lines.insert(other, line)
    elif choice == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif choice == 3:
        lines[at] = random.choice((b" ", b"  ", b"\t")) + line
    elif choice == 4:
        lines[at] = line.lstrip()
    elif choice == 5:
        lines[at] = line.replace(b"\n", random.choice((b"\r\n", b"\r", b"", b" \\\n")))
    elif choice == 6:
        lines[at] = line.replace(b":", random.choice((b"", b"=", b" :", b":x", b"::")), 1)
    else:
        lines.insert(at, new)
    return b"".join(lines)


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += _nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _nodes(item, (*path, index))
    return found


def _structure(data: bytes, random: Random) -> bytes:
    """Another value, no value, another key, or the value of another place, somewhere in a YAML document."""
    try:
        # an earlier mutation may have made a document that would exhaust this process
        document = parse_yaml(data.decode(), Path("x"))
        nodes = _nodes(document)[1:]
    except (RefusedError, ValueError):
        return _line(data, random)
    if not nodes:
        return _line(data, random)
    *above, key = random.choice(nodes)
    parent = document
    for step in above:
        parent = parent[step]
    choice = random.randrange(6)
    if choice == 0:
        del parent[key]
    elif choice == 1 and isinstance(parent, dict):
        new = random.choice((f"{key}x", f" {key}", str(key).upper(), 1, None, True, "", "x" * 300))
        parent[new] = parent.pop(key)
    elif choice == 2:
        value: Any = document
        for step in random.choice(nodes):
            value = value[step]
        parent[key] = copy.deepcopy(value)
    else:
        parent[key] = copy.deepcopy(random.choice(VALUES))
    try:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=random.random() < 0.5).encode(errors="replace")
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return _line(data, random)


Content = Callable[[bytes, Random], bytes]
CONTENT: tuple[Content, ...] = (_flip, _insert, _cut, _whole, *((_line,) * 3), *((_structure,) * 6))


# in the file system


def _gone(path: Path, _random: Random) -> None:
    path.unlink()


def _folder(path: Path, random: Random) -> None:
    path.unlink()
    path.mkdir()
    if random.random() < 0.5:
        (path / path.name).write_bytes(b"a: 1\n")


def _circle(path: Path, random: Random) -> None:
    path.unlink()
    path.symlink_to(random.choice((path.name, ".", "..", "missing", "/dev/null", "/dev/zero", "/proc/self/environ")))


def _pipe(path: Path, _random: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _neighbour(path: Path, random: Random) -> None:
    new = path.parent / random.choice(NAMES)
    if new.exists():
        return
    choice = random.randrange(5)
    if choice == 0:
        new.mkdir()
    elif choice == 1:
        new.symlink_to(random.choice((".", "..", path.name, "missing")))
    elif choice == 2:
        os.mkfifo(new)
    else:
        new.write_bytes(mutate(path.read_bytes(), random))
        if random.random() < 0.2:
            new.chmod(0o755)


def _parent(path: Path, _random: Random) -> None:
    """A file where the folder should be."""
    shutil.rmtree(path.parent)
    path.parent.write_bytes(path.name.encode())


PLACES: tuple[Callable[[Path, Random], None], ...] = (_gone, _folder, _circle, _pipe, _neighbour, _neighbour)
"""Mutations of a path. `_parent` is only for folders below the environment's."""


def place(path: Path, random: Random, below: Path) -> str:
    """Change what is at a path; returns the name of the change."""
    choices = (*PLACES, _parent) if below in path.parent.parents else PLACES
    chosen = random.choice(choices)
    chosen(path, random)
    return chosen.__name__.strip("_")
