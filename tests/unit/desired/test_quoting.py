# SPDX-License-Identifier: Apache-2.0
"""Secrets with every printable character arrive unchanged in what reads the rendered file."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shlex
import string
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from oslo_config import cfg

from scs_deploy.base import ini
from scs_deploy.desired import resolve
from scs_deploy.desired.quoting import FILTERS
from scs_deploy.region.region import Region
from tests.conftest import dummy_region

PRINTABLE = string.printable[:95]
_draw = random.Random(9)
VALUES = (
    PRINTABLE,
    *PRINTABLE,
    *(c + "x" + c for c in PRINTABLE),
    " lead", "trail ", "p4ss#word", "Pa$$word", r"a\$b", "$password", "${x}", "it's", '"', "' OR '1'='1", "a\\", "%40",
    *("".join(_draw.choices("'\"\\#$ %;:@{}ab", k=_draw.randint(1, 9))) for _ in range(300)),
)  # fmt: skip


def backslashes(text: str) -> str:
    """What curl makes of text between double quotes."""
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r", "v": "\v"}.get(m[1], m[1]), text)


def mariadb_string(text: str) -> str:
    """A string literal by MariaDB's rules, which must be the whole text."""
    inner = re.fullmatch(r"'((?:[^'\\]|''|\\.)*)'", text)
    assert inner, text
    return re.sub(r"''|\\(.)", lambda m: {"n": "\n", "t": "\t", "0": "\0"}.get(m[1], m[1]) if m[1] else "'", inner[1])


def oslo_value(text: str, folder: Path) -> str:
    """An option as a service gets it, after substitution."""
    file = folder / "x.conf"
    file.write_text(f"[DEFAULT]\npassword = {text}\nx = WRONG\n")
    read = cfg.ConfigOpts()
    read.register_opts([cfg.StrOpt("password"), cfg.StrOpt("x")])
    read(args=[], default_config_files=[str(file)], default_config_dirs=[])
    return str(read.password)


def test_every_format_gets_the_value(tmp_path: Path) -> None:
    for value in VALUES:
        assert shlex.split(FILTERS["quote"](value)) == [value]
        assert json.loads(FILTERS["to_json"](value)) == value
        assert unquote(urlsplit(f"a://u:{FILTERS['url'](value)}@h/x").password or "") == value
        (option,) = ini.parse(f"[c]\nk = {FILTERS['cnf'](value)}\n", ini.CNF)["c"]["k"]
        assert ini.meaning(option, ini.CNF) == value
        quoted = FILTERS["in_quotes"](value)
        (option,) = ini.parse(f'[c]\nk = "sst:{quoted}"\n', ini.CNF)["c"]["k"]
        assert ini.meaning(option, ini.CNF) == f"sst:{value}"
        assert re.fullmatch(r'"((?:[^"\\]|\\.)*)"', f'"{quoted}"')
        assert backslashes(quoted) == value
        assert mariadb_string(f"'{FILTERS['sql'](value)}'") == value
        assert oslo_value(FILTERS["oslo"](value), tmp_path) == value


def test_rabbitmq_conf_holds_the_value_or_refuses_it() -> None:
    for value in VALUES:
        if "'" in value or "$(" in value:
            with pytest.raises(ValueError, match=r"rabbitmq\.conf cannot hold"):
                FILTERS["rabbitmq"](value)
            continue
        text = FILTERS["rabbitmq"](value)
        # a value ends at white space and #, unless it is in single quotes, between which nothing is special
        assert text == f"'{value}'" or (text == value and not re.search(r"[\s#'\"\\]", value))


@pytest.fixture(scope="module")
def awkward() -> Region:
    """A region whose own secrets have every printable character that all formats can hold."""
    region = dummy_region("testbed")
    secret = PRINTABLE.replace("'", "").replace("$(", "(")
    formats, usual = region.catalog.secret_formats, region.secrets
    values = {n: usual[n] if n in formats else secret for n in region.catalog.secrets()}
    return dataclasses.replace(region, load_secrets=lambda _: values)


def test_templates_quote_secrets_for_their_format(awkward: Region, tmp_path: Path) -> None:
    secret = awkward.secrets["keystone_admin_password"]
    files = resolve.resolve(awkward, "testbed-1").files
    seen = 0
    for file in files.values():
        if file.format == "ini":
            target = tmp_path / "whole.conf"
            target.write_text(file.content)
            sections = dict[str, dict[str, list[str]]]()
            cfg.ConfigParser(str(target), sections).parse()
            for keys in sections.values():
                for key in ("password", "metadata_proxy_shared_secret"):
                    for value in keys.get(key, ()):
                        assert value.replace(r"\$", "$") == secret
                        seen += 1
        elif file.format == "cnf":
            for options in ini.parse(file.content, ini.CNF).values():
                for key in ("password", "wsrep_sst_auth"):
                    for written in options.get(key, ()):
                        assert ini.meaning(written, ini.CNF).removeprefix("sst:") == secret
                        seen += 1
        elif file.name.endswith(".curl"):
            (line,) = (x for x in file.content.splitlines() if x.startswith("user = "))
            assert backslashes(line.removeprefix('user = "')[:-1]).partition(":")[2] == secret
            seen += 1
        elif file.name == "init.sql":
            for literal in re.findall(r"IDENTIFIED BY ('(?:[^'\\]|''|\\.)*')", file.content):
                assert mariadb_string(literal) == secret
                seen += 1
    assert seen > 15
