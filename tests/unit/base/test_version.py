# SPDX-License-Identifier: Apache-2.0
"""The version: the release, and in a checkout the commit."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.base.version import version


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    version.cache_clear()
    yield
    version.cache_clear()


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_names_its_commit_and_uncommitted_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ROOT", str(tmp_path))
    _git(tmp_path, "init", "-q")
    file = tmp_path / "file"
    file.write_text("1")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "-qm", "one")
    commit = _git(tmp_path, "rev-parse", "--short=9", "HEAD")
    assert re.fullmatch(rf"\d+(\.\d+)*\+g{commit}", version())
    (tmp_path / "state").write_text("written by a region")
    version.cache_clear()
    assert "dirty" not in version()
    file.write_text("2")
    version.cache_clear()
    assert version().endswith(f"+g{commit}.dirty")


def test_an_installation_has_a_release_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ROOT", str(tmp_path))
    assert re.fullmatch(r"\d+(\.\d+)*", version())


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()", "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"scs {version()}\n", "")
