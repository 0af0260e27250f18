# SPDX-License-Identifier: Apache-2.0
"""A small share of `make fuzz`, the same cases each time; and what earlier cases found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_yaml
from tests.fuzz.__main__ import run
from tests.fuzz.case import Outcome, faults

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


def test_whatever_is_wrong_with_a_region_is_said_in_a_line_that_names_the_file() -> None:
    with pytest.MonkeyPatch.context() as patch:
        # the cases choose their own region
        for name in ("SCS_ROOT", "SCS_ENVIRONMENTS", "SCS_ENVIRONMENT"):
            patch.setenv(name, "")
        assert run(0, range(12)) == {}


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
