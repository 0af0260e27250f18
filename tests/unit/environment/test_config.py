# SPDX-License-Identifier: Apache-2.0
"""Config overrides: which layers apply, how they merge, and how differences are displayed."""

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.overrides import Overrides, differences, flatten, merge, without_secrets


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
    with pytest.raises(RefusedError, match=r"nova\.conf:1: expected `key = value`"):
        merge("[a]\n", [("nova.conf", "what is this\n")], "ini")


@pytest.mark.parametrize(
    ("fmt", "over", "said"),
    [
        ("ini", "debug = true\n", ":1: option 'debug' precedes the first [section] (the file must be an INI file"),
        ("ini", "[DEFAULT]\ndebug\n", ":2: expected `key = value`, found 'debug'"),
        ("ini", "# x\n[database\nmax_retries = 1\n", ":2: the section's name must end with ]"),
        ("ini", "[a] ; note\n", ":1: the section's name must end with ]"),
        ("ini", "[a]\n\n  x = 1\n", ":3: continues no value"),
        ("cnf", "port = 1\n", ":1: option 'port' precedes the first [group] (the file must be a MariaDB option file)"),
        ("cnf", "[mariadbd]\n!includedir /etc\n", ":2: '!includedir' cannot be used here"),
        ("cnf", "[mariadbd\n", ":1: expected [group]"),
        ("yaml", "a: 1\nb: [\n", ":3: "),
        ("json", '{"a": 1,\n "b" 2}', ":2: Expecting ':' delimiter"),
    ],
)
def test_an_override_that_its_reader_rejects_is_refused_with_the_line(fmt: str, over: str, said: str) -> None:
    base = {"ini": "[a]\n", "cnf": "[mariadbd]\n", "yaml": "a: 0\n", "json": "{}"}[fmt]
    with pytest.raises(RefusedError) as error:
        merge(base, [("config/x", over)], fmt)
    assert str(error.value).startswith(f"config/x{said}")


@pytest.mark.parametrize(
    ("fmt", "base", "over"),
    [
        ("ini", "[a]\n# said\nx=1\n", "# only a comment\n"),
        ("ini", "[a]\nx=1\ny = b\n", "[a]\nx = '1'\ny: b\n"),
        ("ini", "[a]\nx=1\n", "[b]\n"),
        ("cnf", "[m]\nskip_name_resolve\nport=1 # one\n", "[m]\nskip-name-resolve\nport = '1'\n"),
        ("yaml", "a: {x: 1} # said\n", "a:\n  x: 1\n"),
        ("yaml", "a: 1 # said\n", "# only a comment\n"),
        ("json", '{"a":1}', '{ "a": 1 }'),
    ],
)
def test_an_override_that_changes_no_value_changes_nothing(fmt: str, base: str, over: str) -> None:
    assert merge(base, [("o", over)], fmt) == base


def test_several_values_are_not_one_value_with_a_comma() -> None:
    assert merge("[a]\nx = 1\nx = 2\n", [("o", "[a]\nx = 1, 2\n")], "ini") == "[a]\nx = 1, 2\n"


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
        Overrides(tmp_path).check({"nova": {"nova.conf": "ini"}}, {}, ["n1"])


@pytest.mark.parametrize(
    "file", ["global.conf", "nova.conf", "nova/nova.conf", "nova_compute/nova.conf", "hosts/n1/nova.conf"]
)
def test_every_layer_is_parsed_before_anything_runs(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("[database\n")
    formats = {"nova.conf": "ini"}
    with pytest.raises(RefusedError, match=rf"{file}:1: the section's name must end with \]"):
        Overrides(tmp_path).check({"nova": formats}, {"nova_compute": formats}, ["n1"])


def test_links_are_followed_and_broken_ones_refused(tmp_path: Path) -> None:
    shared, config = tmp_path / "shared", tmp_path / "config"
    shared.mkdir()
    config.mkdir()
    (shared / "keystone.conf").write_text("[token]\nexpiration = 1\n")
    (config / "keystone").symlink_to(shared)
    (config / "glance.conf").symlink_to(shared / "keystone.conf")
    found = Overrides(config)
    assert found.files == {"keystone/keystone.conf", "glance.conf"}
    layers = found.layers("openstack", "keystone", "keystone", "n1", "keystone.conf", "ini")
    assert [p.read_text() for p in layers] == ["[token]\nexpiration = 1\n"]

    (shared / "back").symlink_to(config)
    with pytest.raises(RefusedError, match=r"keystone/back: this link leads to a folder above it"):
        Overrides(config)
    (shared / "back").unlink()
    (config / "nova").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RefusedError, match=r"config/nova: this link leads nowhere \(it points to .*nowhere\)"):
        Overrides(config)
    whole = tmp_path / "linked"
    whole.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RefusedError, match="linked: this link leads nowhere"):
        Overrides(whole)


@pytest.mark.parametrize(
    "name", ["nova.conf~", ".nova.conf.swp", ".nova.conf.swo", "#nova.conf#", "nova.conf.orig", "nova.conf.bak"]
)
def test_editors_files_are_no_overrides(tmp_path: Path, name: str) -> None:
    (tmp_path / "nova.conf").write_text("[DEFAULT]\n")
    (tmp_path / name).write_text("[what")
    (tmp_path / ".#nova.conf").symlink_to("user@host.1234:5678")
    overrides = Overrides(tmp_path)
    overrides.check({"nova": {"nova.conf": "ini"}}, {}, ["n1"])
    assert overrides.files == {"nova.conf"}


@pytest.mark.parametrize(
    ("fmt", "text", "shown"),
    [
        ("ini", "[a]\nadmin_password = own\nurl = b\n", "[a]\nadmin_password = ***\nurl = b\n"),
        ("ini", "[a]\npassword = own\n  more\nx = 1\n", "[a]\npassword = ***\nx = 1\n"),
        ("ini", "[a]\nbackend = redis://u:own@h/1\n", "[a]\nbackend = redis://***@h/1\n"),
        ("ini", "[token]\nexpiration = 7200\n# password = example\n", None),
        ("cnf", '[client]\npassword="own"\n', "[client]\npassword=***\n"),
        ("yaml", "a:\n  secret_key: own\n  b: 1\n", "a:\n  secret_key: ***\n  b: 1\n"),
        ("json", '{\n  "token": "own",\n  "b": 1\n}\n', '{\n  "token": "***",\n  "b": 1\n}\n'),
        ("text", "default_pass = own\n", "default_pass = ***\n"),
        ("text", "from the vault: s3cret\n", "from the vault: ***\n"),
        (
            "text",
            "-----BEGIN PRIVATE KEY-----\nown\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----\n***\n-----END PRIVATE KEY-----\n",
        ),
    ],
)
def test_a_shown_file_hides_what_differences_hide(fmt: str, text: str, shown: str | None) -> None:
    assert without_secrets(text, fmt, ["s3cret", ""]) == (text if shown is None else shown)
    if fmt != "text" and shown is not None:
        assert "own" not in " ".join(differences("{}" if fmt in ("json", "yaml") else "", text, fmt, ["s3cret"]))
