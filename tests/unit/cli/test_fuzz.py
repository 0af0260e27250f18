# SPDX-License-Identifier: Apache-2.0
"""A small share of `make fuzz`, the same cases each time; and what earlier cases found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_yaml
from scs_deploy.desired.check import check
from scs_deploy.environment import environment as environments
from scs_deploy.secrets import vault
from tests.fuzz.__main__ import run
from tests.fuzz.case import Outcome, faults
from tests.fuzz.region import NAME, Tree, build

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


def test_whatever_is_wrong_with_a_region_is_said_in_a_line_that_names_the_file() -> None:
    with pytest.MonkeyPatch.context() as patch:
        # the cases choose their own region
        for name in ("SCS_ROOT", "SCS_ENVIRONMENTS", "SCS_ENVIRONMENT"):
            patch.setenv(name, "")
        assert run(0, range(12)) == {}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SCS_ROOT", "SCS_ENVIRONMENTS", "SCS_ENVIRONMENT"):
            patch.setenv(name, "")
        yield build(tmp_path_factory.mktemp("fuzz") / "region")


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("environment.yml", 'release: "2025.1"', "release: 2001-99-99", ":3: '2001-99-99' is not a valid timestamp"),
        ("environment.yml", 'release: "2025.1"', "release: a/../b", ": release: no release 'a/../b'"),
        ("environment.yml", "inventory: inventory", f"inventory: {'x' * 300}", ":5: inventory: is too long for a path"),
        ("environment.yml", "internal.ha.scs.example", "münchen.example", ": api.internal.name: "),
        ("inventory/hosts.yml", "ha-1:", '"ha\\n1":', "host ha\\n1 is not a valid host name"),
        ("inventory/group_vars/all.yml", "", f"\nneutron_network_type: {'x' * 900}\n", "is 'xxx"),
        ("inventory/group_vars/all.yml", "", "\nnova_cpu_allocation_ratio: .nan\n", "is nan, not a number"),
        ("inventory/hosts.yml", "all:", "all ", ":3: "),
        ("inventory/group_vars/all.yml", "", "\nno: 1\n", ": the name of a variable is a string, and YAML reads False"),
        ("config/keystone.conf", "[token]", "x" * 9000, f":1: expected `key = value`, found '{'x' * 80} ...'"),
    ],
)
def test_what_earlier_cases_found(tree: Tree, file: str, before: str, after: str, said: str) -> None:
    path = tree.environment / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1) if before else text + after, encoding="utf-8")
    try:
        (error,) = [f.error for f in check(NAME) if f.error]
    finally:
        path.write_text(text, encoding="utf-8")
    assert error.startswith(str(tree.environment)) and said in error
    assert len(error) < 500


@pytest.mark.parametrize("folder", ["inventory/host_vars", "config/hosts/ha-1"])
def test_a_pipe_is_not_waited_for_and_a_name_is_one_line(tree: Tree, folder: str) -> None:
    pipe, lines = tree.environment / folder / "nova.conf", tree.environment / folder / "a\nb.conf"
    os.mkfifo(pipe)
    try:
        assert [f.error for f in check(NAME) if f.error] == [f"{pipe}: is neither a file nor a folder"]
    finally:
        pipe.unlink()
    lines.write_text("")
    try:
        said = f"{lines.parent}: 'a\\nb.conf': the name has control characters"
        assert [f.error for f in check(NAME) if f.error] == [said]
    finally:
        lines.unlink()


@pytest.mark.parametrize(("part", "said"), [("cert", "is not a PEM certificate"), ("key", "is not a PEM key")])
def test_a_damaged_certificate_is_named(tree: Tree, part: str, said: str) -> None:
    environment = environments.load(NAME)
    file = environment.certificates_file
    encrypted, plain = file.read_text(), yaml.safe_load(vault.read(environment, file))
    plain["leaves"]["galera/ha-1"][part] = plain["leaves"]["galera/ha-1"][part].replace("M", "-", 3)
    vault.save(environment, file, yaml.safe_dump(plain))
    try:
        errors = [f.error for f in check(NAME) if f.error]
    finally:
        file.write_text(encrypted)
    assert errors == [f"{file}: leaves.galera/ha-1.{part}: {said}" + ("" if part == "cert" else " without a password")]


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (Outcome(0, '{"ok": true, "parts": [{"error": ""}]}', ""), ""),
        (Outcome(2, '{"ok": false, "parts": [{"error": "/top/x:1: bad"}]}', ""), ""),
        (Outcome(2, '{"ok": false, "parts": [{"error": "bad"}]}', ""), "names no file"),
        (Outcome(2, '{"ok": false, "parts": [{"error": "/top/x: bad\\nworse"}]}', ""), "more than one line"),
        (Outcome(0, '{"ok": false, "parts": [{"error": "/top/x:1: bad"}]}', ""), "exit code 0 with 1 errors"),
        (Outcome(1, "", "error: internal error: KeyError"), "exit code 1"),
        (Outcome(2, "", "error: /top/x: bad"), "on stderr"),
        (Outcome(-24, "", ""), "exit code -24"),
    ],
)
def test_the_fuzzer_notices_a_bad_answer(outcome: Outcome, fault: str) -> None:
    found = faults(outcome, "/top")
    assert found == [] if not fault else fault in found[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: &a [*a]\n", ":2: an alias contains itself"),
        (BOMB, ": its aliases are too large"),
        ("x: 1\n" + "[" * 1001, ":2: too many unclosed brackets"),
        ("- " * 1001, ":1: too many levels in one line"),
        ("[" * 200 + "]" * 200, ":1: more than 100 levels"),
    ],
)
def test_a_document_that_would_exhaust_the_process_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.yml"
    file.write_text(text)
    with pytest.raises(RefusedError) as error:
        load_yaml(file)
    assert str(error.value).startswith(str(file)) and str(error.value).endswith(said)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    pipe, circle, folder = tmp_path / "pipe", tmp_path / "circle", tmp_path / "folder"
    os.mkfifo(pipe)
    circle.symlink_to("circle")
    folder.mkdir()
    zero = tmp_path / "zero"
    zero.symlink_to("/dev/zero")
    said = {}
    for path in (pipe, zero, circle, folder):
        with pytest.raises(RefusedError) as error:
            load_yaml(path)
        said[path.name] = str(error.value).removeprefix(f"{path}: ")
    assert said == {
        "pipe": "is a pipe, socket or device, not a file",
        "zero": "is a pipe, socket or device, not a file",
        "circle": "cannot be read: too many levels of symbolic links",
        "folder": "is a folder, not a file",
    }
