# SPDX-License-Identifier: Apache-2.0
"""The version: the release, and in a checkout the commit."""

from __future__ import annotations

import importlib.metadata
import json
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


def test_an_installation_has_the_version_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ROOT", str(tmp_path))
    assert version() == importlib.metadata.version("scs-deploy")


def test_the_command_tells_what_is_installed() -> None:
    command = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()", "version", "--json"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert said["version"] == version()
    assert said["version"] == (f"{said['release']}+g{said['commit']}" if said["commit"] else said["release"])
    assert "2025.1" in said["releases"]
    assert {"scs.core", "scs.openstack"} <= said["collections"].keys()
    assert said["requirements"]["ansible-core"] == importlib.metadata.version("ansible-core")


def test_the_option_prints_it() -> None:
    command = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()", "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"scs {version()}\n", "")
