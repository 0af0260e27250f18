# SPDX-License-Identifier: Apache-2.0
"""INI files as oslo.config reads them, compared with oslo.config itself, and option files by MariaDB's rules."""

from __future__ import annotations

import random
import re
import string
from pathlib import Path

import pytest
from oslo_config import cfg

from scs_deploy.base import ini

PRINTABLE = string.printable[:95]
"""Every printable ASCII character, space included"""


def oslo(text: str, folder: Path) -> ini.Sections | None:
    """What oslo.config reads; None: it refuses the file."""
    file, found = folder / "x.conf", dict[str, dict[str, list[str]]]()
    file.write_bytes(text.encode())
    try:
        cfg.ConfigParser(str(file), found).parse()
    except cfg.ParseError:
        return None
    return {s: {k: tuple(v) for k, v in keys.items()} for s, keys in found.items()}


def own(text: str) -> ini.Sections | None:
    """What scs reads, as oslo.config has it."""
    try:
        found = ini.parse(text)
    except ini.IniError:
        return None
    return {s: {k: tuple(map(ini.meaning, v)) for k, v in keys.items()} for s, keys in found.items()}


PIECES = (
    "[a]", "[DEFAULT]", "[", "]", "[]", "[a b]", "[[x]", "key", "other", "=", ":", " = ", "'", '"', "'v'", '"v w"', " ",
    "\t", "#", ";", "# said", "\n", "\n", "\n", "\r\n", "\n ", "\n\t", "v", "1", "\\", "%", "\x0c", "\u2028", "ü", ",",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_it_reads_and_refuses_what_oslo_config_does(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    read = 0
    for _ in range(100):
        text = "".join(draw.choices(PIECES, k=draw.randint(1, 14)))
        text = f"[s]\n{text}" if draw.random() < 0.7 else text
        expected = oslo(text, tmp_path)
        if re.search(r"(?m)^[\x0c\u2028]", text):
            # refused, where oslo.config makes a key of it
            continue
        assert own(text) == expected, repr(text)
        if expected is not None:
            read += 1
            # what scs writes means the same
            assert oslo(ini.dump(ini.parse(text)), tmp_path) == expected, repr(text)
    assert read > 5


def test_merge_replaces_all_values_of_a_key_and_keeps_the_rest() -> None:
    text = "[DEFAULT]\n# a comment\ndebug = false\nopt = a\nopt = b\n[database]\nconnection = x\n  continued\n"
    merged = ini.merge(ini.parse(text), ini.parse("[DEFAULT]\nopt = c\n[new]\nk = v\n"))
    assert merged["DEFAULT"] == {"debug": ("false",), "opt": ("c",)}
    assert merged["new"] == {"k": ("v",)}
    assert merged["database"] == {"connection": ("x\ncontinued",)}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("k = v # said", "v"),
        ("k = 'v # w' # said", "v # w"),
        ('k="it\'s"', "it's"),
        (r'k = "a\"b\\c"', 'a"b\\c'),
        (r"k = a\sb\tc\nd", "a b\tc\nd"),
        (r"k = C:\dir", "C:\\dir"),
        ("k =", ""),
        ("k", ""),
        ("  k  =  v  ", "v"),
        ("skip-name-resolve = ON", "ON"),
    ],
)
def test_an_option_files_line_means_what_mariadb_makes_of_it(line: str, value: str) -> None:
    """https://mariadb.com/kb/en/configuring-mariadb-with-option-files, mysys/my_default.c"""
    ((name, (written,)),) = ini.parse(f"[g]\n{line}\n", ini.CNF)["g"].items()
    assert name == ("skip_name_resolve" if "skip" in line else "k")
    assert ini.meaning(written, ini.CNF) == value


@pytest.mark.parametrize("dialect", [ini.INI, ini.CNF])
def test_every_printable_character_survives_quoting(dialect: str, tmp_path: Path) -> None:
    draw = random.Random(1)
    values = [
        PRINTABLE,
        *PRINTABLE,
        *(c + "x" + c for c in PRINTABLE),
        "''",
        '""',
        "'\"'",
        "a#b",
        "#",
        " a ",
        "\\",
        '\\"',
    ]
    values += ["".join(draw.choices("'\"\\# $%;a=:", k=draw.randint(1, 8))) for _ in range(500)]
    for value in values:
        text = f"[s]\nk = {ini.quoted(value, dialect)}\n"
        (written,) = ini.parse(text, dialect)["s"]["k"]
        assert ini.meaning(written, dialect) == value, text
        if dialect == ini.INI:
            assert oslo(text, tmp_path) == {"s": {"k": (value,)}}, text
    with pytest.raises(ValueError, match="control characters"):
        ini.quoted("a\nb", dialect)
