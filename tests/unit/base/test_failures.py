# SPDX-License-Identifier: Apache-2.0
"""Errors of the system and of scs itself, as the operator sees them: real errors of real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.failures import explained
from scs_deploy.base.ini import merge


def failing(action: object) -> ScsError:
    assert callable(action)
    try:
        action()
    except Exception as error:  # noqa: BLE001 - any
        return explained(error)
    raise AssertionError("it did not fail")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    found = failing((tmp_path / "x").read_text)
    assert isinstance(found, RefusedError)
    assert str(found) == f"{tmp_path / 'x'}: no such file or directory"


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert str(failing(tmp_path.read_text)) == f"{tmp_path}: is a directory"


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "nova.conf"
    file.write_bytes(b"[DEFAULT]\n# M\xfcnchen\n")
    found = failing(lambda: file.read_text(encoding="utf-8"))
    assert isinstance(found, RefusedError)
    assert str(found) == f"{file}: line 2: not UTF-8 text (save the file as UTF-8)"


def test_a_full_disk_is_a_failure_with_a_remedy(tmp_path: Path) -> None:
    found = failing(lambda: Path("/dev/full").write_text("x"))
    assert not isinstance(found, RefusedError)
    assert str(found) == "/dev/full: no space left on device (free space, then run the same command again)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_missing_rights_are_refused_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "secrets.yml"
    file.write_text("x")
    file.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        found = failing(file.read_text)
        assert isinstance(found, RefusedError)
        assert str(found) == f"{file}: permission denied (run scs as the user that owns the region, or with sudo)"
    finally:
        os.seteuid(0)


def test_an_error_of_scs_itself_says_where() -> None:
    found = failing(lambda: merge(None, None))  # type: ignore[arg-type]
    assert found.message.startswith("internal error: ")
    assert "at base/ini.py:" in found.message
    assert "scs --debug" in found.hint
