# SPDX-License-Identifier: Apache-2.0
"""INI files as oslo.config reads them: repeated keys are lists, and keys may precede the first section."""

from __future__ import annotations

Sections = dict[str, dict[str, tuple[str, ...]]]
"""section: key: its values, one per line that sets it. Section '' holds the keys before the first header."""


def parse(text: str) -> Sections:
    """Read INI text. Comments are dropped; a line that starts with white space continues the value above.

    :raises ValueError: a line is not a header, `key = value`, comment or continuation; names its number
    """
    result: dict[str, dict[str, list[str]]] = {}
    section = ""
    last: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            last = None if not bare else last
            continue
        if line[0].isspace() and last is not None:
            last[-1] += "\n" + bare
        elif bare.startswith("[") and bare.endswith("]") and "=" not in bare:
            section, last = bare[1:-1].strip(), None
            result.setdefault(section, {})
        else:
            key, sign, value = bare.partition("=")
            if not sign and (not key or " " in key):
                raise ValueError(f"line {number}: expected `key = value`")
            last = result.setdefault(section, {}).setdefault(key.strip(), [])
            last.append(value.strip() if sign else _BARE)
    return {s: {k: tuple(v) for k, v in keys.items()} for s, keys in result.items()}


_BARE = "\0"
"""Marks a key without `=`, as in MariaDB's option files."""


def merge(base: Sections, over: Sections) -> Sections:
    """`base` with each key of `over` replaced, including all its values."""
    return {s: {**base.get(s, {}), **over.get(s, {})} for s in (*base, *(x for x in over if x not in base))}


def dump(sections: Sections) -> str:
    """Write INI text; keys before any section come first."""
    lines: list[str] = []
    for section in sorted(sections, key=lambda s: s != ""):
        if section:
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for key, values in sections[section].items():
            lines += [key if v == _BARE else f"{key} = {v.replace(chr(10), chr(10) + '  ')}" for v in values]
    return "\n".join(lines) + "\n"


def flat(sections: Sections) -> dict[str, str]:
    """`[section] key`: value, with repeated values joined by commas. For comparisons."""
    return {
        f"[{s}] {k}" if s else k: ", ".join("" if v == _BARE else v for v in values)
        for s, keys in sections.items()
        for k, values in keys.items()
    }
