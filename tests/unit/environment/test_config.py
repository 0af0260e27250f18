# SPDX-License-Identifier: Apache-2.0
"""Config layers: which apply, how they merge, what is shown of a difference."""

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import overrides as config


@pytest.mark.parametrize(
    ("fmt", "base", "over", "expected"),
    [
        ("ini", "[a]\nx = 1\ny = 2\n", "[a]\ny = 3\n", {"[a] x": "1", "[a] y": "3"}),
        ("yaml", "a: {x: 1, y: 2}\n", "a: {y: 3}\n", {"a.x": "1", "a.y": "3"}),
        ("json", '{"a": {"x": 1}}', '{"a": {"z": [1]}}', {"a.x": "1", "a.z": "[1]"}),
    ],
)
def test_overrides_merge_by_key(fmt: str, base: str, over: str, expected: dict[str, str]) -> None:
    assert config.flatten(config.merge(base, [("o", over)], fmt), fmt) == expected


def test_text_is_replaced_whole_and_no_override_changes_no_byte() -> None:
    assert config.merge("old", [("o", "new")], "text") == "new"
    assert config.merge("[a]\n# comment\nx=1\n", [], "ini") == "[a]\n# comment\nx=1\n"


def test_a_broken_override_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match=r"nova\.conf: line 1"):
        config.merge("[a]\n", [("nova.conf", "what is this\n")], "ini")


def test_an_option_outside_of_sections_is_refused_where_the_template_has_none() -> None:
    with pytest.raises(RefusedError, match=r"nova\.conf: option 'debug' stands before any \[section\]"):
        config.merge("[DEFAULT]\n", [("nova.conf", "debug = true\n")], "ini")
    assert "debug = true" in config.merge("debug = false\n[a]\n", [("x.ini", "debug = true\n")], "ini")


def test_differences_name_keys_and_hide_secrets() -> None:
    old = "[token]\nexpiration = 3600\n[db]\nconnection = mysql://u:old@h/x\nurl = a\n"
    new = "[token]\nexpiration = 7200\n[db]\nconnection = mysql://u:new@h/x\nurl = s3cret-value\n"
    assert config.differences(old, new, "ini", ["s3cret-value"]) == [
        "[token] expiration 3600 -> 7200",
        "[db] connection (hidden) -> (hidden)",
        "[db] url a -> (hidden)",
    ]


def test_layers_apply_from_global_to_host(tmp_path: Path) -> None:
    for name in ("global.conf", "nova.conf", "nova/nova.conf", "nova_compute/nova.conf", "hosts/n1/nova.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[DEFAULT]\n")
    found = config.Overrides(tmp_path)
    names = [
        str(p.relative_to(tmp_path))
        for p in found.layers("openstack", "nova", "nova_compute", "n1", "nova.conf", "ini")
    ]
    assert names == ["global.conf", "nova.conf", "nova/nova.conf", "nova_compute/nova.conf", "hosts/n1/nova.conf"]
    assert found.layers("infrastructure", "mariadb", "mariadb", "n2", "galera.cnf", "ini") == []


def test_an_override_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "novaa.conf").write_text("")
    with pytest.raises(RefusedError, match=r"novaa\.conf: no service"):
        config.Overrides(tmp_path).check({"nova": {"nova.conf"}}, {}, ["n1"])
