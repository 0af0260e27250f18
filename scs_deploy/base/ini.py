# SPDX-License-Identifier: Apache-2.0
"""INI files as their readers understand them: oslo.config's files, and MariaDB's option files.

Values are kept as written. `meaning` yields what the reader makes of one: without quotes, comments and escapes.
A property test compares the first dialect with oslo.config itself, which is not imported here: importing it takes
longer than most commands run, and it does not tell how a value was written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from scs_deploy.base.shown import shown

Sections = dict[str, dict[str, tuple[str, ...]]]
"""section: key: its values, one per line that sets it"""

INI, CNF = "ini", "cnf"

BARE = "\0"
"""Value of a key without `=`, as in MariaDB's option files"""


class IniError(ValueError):
    """A line that the reader of the file rejects."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line, self.what = line, what


def parse(text: str, dialect: str = INI) -> Sections:
    """Read INI text. Comments are dropped.

    :param dialect: `ini`: oslo.config, where a line that starts with white space continues the value above;
        `cnf`: MariaDB's option files, where keys may stand without a value
    :raises IniError: the reader would reject a line, or would ignore it
    """
    result: dict[str, dict[str, list[str]]] = {}
    for _, section, key, value in _keys(text, dialect):
        found = result.setdefault(section, {})
        if key:
            found.setdefault(key, []).append(value)
    return {s: {k: tuple(v) for k, v in found.items()} for s, found in result.items()}


def places(text: str, dialect: str = INI) -> list[tuple[int, str, str]]:
    """(line, section, key) of everything that the text sets; without key: the section begins.

    :raises IniError: see `parse`
    """
    return [(line, section, key) for line, section, key, _ in _keys(text, dialect)]


def _keys(text: str, dialect: str) -> Iterator[tuple[int, str, str, str]]:
    return _options(text) if dialect == CNF else _oslo(text)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # lines of a file in text mode; str.splitlines would also split at form feeds and Unicode's separators
    return ((n, line.rstrip()) for n, line in enumerate(io.StringIO(text, newline=None), 1))


def _oslo(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line, section, key, value); without key: the section begins.

    https://docs.openstack.org/oslo.config, iniparser.py
    """
    section = key = ""
    value: list[str] = []
    begun = 0
    for number, line in _lines(text):
        if line.startswith((" ", "\t")):
            if not key:
                raise IniError(number, "continues no value: remove the leading white space")
            value.append(line.lstrip())
            continue
        if key:
            yield begun, section, key, "\n".join(value)
            key = ""
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if not line.endswith("]"):
                raise IniError(number, "the section's name must end with ], and nothing may follow it")
            section = line[1:-1]
            if not section:
                raise IniError(number, "the section has no name")
            yield number, section, "", ""
            continue
        if line[0].isspace():
            # oslo.config takes it for a key, whatever follows
            raise IniError(number, f"starts with an invisible character, {line[0]!r}")
        sign = re.search("[=:]", line)
        if sign is None:
            raise IniError(number, f"expected `key = value`, found '{shown(line)}'")
        begun, key, value = number, line[: sign.start()].strip(), [line[sign.end() :].strip()]
        if not key:
            raise IniError(number, "the key is empty")
        if not section:
            raise IniError(number, f"option '{shown(key)}' precedes the first [section]")
    if key:
        yield begun, section, key, "\n".join(value)


def _options(text: str) -> Iterator[tuple[int, str, str, str]]:
    """As `_oslo`. https://mariadb.com/kb/en/option-files, my_default.c"""
    section = ""
    for number, line in _lines(text):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if bare[0] == "!":
            raise IniError(number, f"'{bare.split()[0]}' cannot be used here: write the options into this file")
        if bare[0] == "[":
            name, end, rest = bare[1:].partition("]")
            section = name.strip()
            if not end or not section:
                raise IniError(number, "expected [group]")
            if rest.strip() and rest.strip()[0] != "#":
                raise IniError(number, f"'{shown(rest.strip())}' after the group is ignored: write it on its own line")
            yield number, section, "", ""
            continue
        bare = _without_comment(bare)
        key, sign, value = (part.strip() for part in bare.partition("="))
        if not key or " " in key:
            raise IniError(number, f"expected `option = value` or `option`, found '{shown(bare)}'")
        if not section:
            raise IniError(number, f"option '{shown(key)}' precedes the first [group]")
        # the server reads both as the same option
        yield number, section, key.replace("-", "_"), value if sign else BARE


def _without_comment(line: str) -> str:
    """An option's line up to the first # outside of quotes."""
    quote, escaped = "", False
    for at, character in enumerate(line):
        if character in "'\"" and not escaped:
            quote = "" if quote == character else quote or character
        if not quote and character == "#":
            return line[:at].rstrip()
        escaped = bool(quote) and character == "\\" and not escaped
    return line


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}


def meaning(value: str, dialect: str = INI) -> str:
    """What the reader makes of a value as written."""
    if value == BARE:
        return ""
    if dialect == CNF:
        value = value[1:-1] if value and value[0] in "'\"" and value[0] == value[-1] else value
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), value)
    first, *rest = value.split("\n")
    if first and first[0] in "'\"" and first[0] == first[-1]:
        first = first[1:-1]
    return "\n".join((first, *rest))


def quoted(value: str, dialect: str = INI) -> str:
    """`value` so that the reader gets exactly it.

    :raises ValueError: the format cannot hold it: control characters
    """
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("a value with control characters cannot be written to an INI file")
    if dialect == CNF:
        return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'
    plain = value == value.strip() and meaning(value) == value
    return value if plain else f'"{value}"'


def merge(base: Sections, over: Sections) -> Sections:
    """`base` with each key of `over` replaced, including all its values."""
    return {s: {**base.get(s, {}), **over.get(s, {})} for s in (*base, *(x for x in over if x not in base))}


def dump(sections: Sections) -> str:
    """Write INI text."""
    lines: list[str] = []
    for section, keys in sections.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for key, values in keys.items():
            lines += [key if v == BARE else f"{key} = {v.replace(chr(10), chr(10) + '  ')}" for v in values]
    return "\n".join(lines) + "\n"


def meanings(sections: Sections, dialect: str = INI) -> dict[tuple[str, str], tuple[str, ...]]:
    """(section, key): what the reader makes of its values."""
    return {
        (s, k): tuple(meaning(v, dialect) for v in values) for s, keys in sections.items() for k, values in keys.items()
    }


def flat(sections: Sections, dialect: str = INI) -> dict[str, str]:
    """`[section] key`: its meaning, with repeated values joined by commas. For display."""
    return {f"[{s}] {k}": ", ".join(values) for (s, k), values in meanings(sections, dialect).items()}
