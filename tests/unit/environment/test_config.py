# SPDX-License-Identifier: Apache-2.0
"""Config overrides: which layers apply, how they merge, and how differences are displayed."""

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.overrides import Overrides, differences, flatten, merge


@pytest.mark.parametrize(
    ("fmt", "base", "over", "expected"),
    [
        ("ini", "[a]\nx = 1\ny = 2\n", "[a]\ny = 3\n", {"[a] x": "1", "[a] y": "3"}),
        ("yaml", "a: {x: 1, y: 2}\n", "a: {y: 3}\n", {"a.x": "1", "a.y": "3"}),
        ("json", '{"a": {"x": 1}}', '{"a": {"z": [1]}}', {"a.x": "1", "a.z": "[1]"}),
    ],
)
def test_overrides_merge_by_key(fmt: str, base: str, over: str, expected: dict[str, str]) -> None:
    assert flatten(merge(base, [("o", over)], fmt), fmt) == expected


def test_text_is_replaced_as_a_whole_and_without_overrides_nothing_changes() -> None:
    assert merge("old", [("o", "new")], "text") == "new"
    assert merge("[a]\n# comment\nx=1\n", [], "ini") == "[a]\n# comment\nx=1\n"


def test_the_error_names_a_broken_override() -> None:
    with pytest.raises(RefusedError, match=r"nova\.conf: line 1"):
        merge("[a]\n", [("nova.conf", "what is this\n")], "ini")


def test_an_option_outside_of_sections_is_refused_unless_the_template_has_one() -> None:
    with pytest.raises(RefusedError, match=r"nova\.conf: option 'debug' precedes the first \[section\]"):
        merge("[DEFAULT]\n", [("nova.conf", "debug = true\n")], "ini")
    assert "debug = true" in merge("debug = false\n[a]\n", [("x.ini", "debug = true\n")], "ini")


def test_differences_name_keys_and_hide_secrets() -> None:
    old = "[token]\nexpiration = 3600\n[db]\nconnection = mysql://u:old@h/x\nurl = a\n"
    new = "[token]\nexpiration = 7200\n[db]\nconnection = mysql://u:new@h/x\nurl = s3cret-value\n"
    assert differences(old, new, "ini", ["s3cret-value"]) == [
        "[token] expiration 3600 -> 7200",
        "[db] connection (hidden) -> (hidden)",
        "[db] url a -> (hidden)",
    ]


def test_layers_apply_from_global_to_host(tmp_path: Path) -> None:
    for name in ("global.conf", "nova.conf", "nova/nova.conf", "nova_compute/nova.conf", "hosts/n1/nova.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[DEFAULT]\n")
    overrides = Overrides(tmp_path)
    names = [
        str(p.relative_to(tmp_path))
        for p in overrides.layers("openstack", "nova", "nova_compute", "n1", "nova.conf", "ini")
    ]
    assert names == ["global.conf", "nova.conf", "nova/nova.conf", "nova_compute/nova.conf", "hosts/n1/nova.conf"]
    assert overrides.layers("infrastructure", "mariadb", "mariadb", "n2", "galera.cnf", "ini") == []


def test_an_unused_override_is_refused(tmp_path: Path) -> None:
    (tmp_path / "novaa.conf").write_text("")
    with pytest.raises(RefusedError, match=r"novaa\.conf: this override applies to no service"):
        Overrides(tmp_path).check({"nova": {"nova.conf"}}, {}, ["n1"])
