# SPDX-License-Identifier: Apache-2.0
"""INI files as oslo.config reads them."""

import pytest

from scs_deploy.base import ini

TEXT = """\
top = 1
[DEFAULT]
# a comment
debug = false
opt = a
opt = b
[database]
connection = x
  continued
skip-name-resolve
"""


def test_repeated_continued_and_bare_keys_survive_a_round_trip() -> None:
    parsed = ini.parse(TEXT)
    assert parsed["DEFAULT"]["opt"] == ("a", "b")
    assert parsed["database"]["connection"] == ("x\ncontinued",)
    assert ini.parse(ini.dump(parsed)) == parsed


def test_merge_replaces_all_values_of_a_key_and_keeps_the_rest() -> None:
    merged = ini.merge(ini.parse(TEXT), ini.parse("[DEFAULT]\nopt = c\n[new]\nk = v\n"))
    assert merged["DEFAULT"] == {"debug": ("false",), "opt": ("c",)}
    assert merged["new"] == {"k": ("v",)}
    assert merged[""] == {"top": ("1",)}


def test_invalid_ini_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="line 2"):
        ini.parse("[a]\nthis is not an option\n")
