# SPDX-License-Identifier: Apache-2.0
"""What makes a command start quickly: only its own modules, and templates that an earlier one compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.cli import main
from scs_deploy.desired import render
from scs_deploy.spec import catalog


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "scs" / "templates"


def test_a_command_needs_its_own_module_only() -> None:
    assert main.needed(["plan", "--json"]) == ("plan",)
    # names that are no module of their own, options before a command, nothing at all
    for arguments in (["restart", "nova"], ["--help"], ["pln"], []):
        assert main.needed(arguments) == main.COMMANDS


def test_every_command_is_there_alone_and_with_all_others() -> None:
    program = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]

    def shown(*arguments: str) -> str:
        return subprocess.run([*program, *arguments], capture_output=True, text=True, check=True).stdout

    assert "Usage: scs plan" in " ".join(shown("plan", "--help").split()).replace("-c plan", "scs plan")
    assert all(f" {name} " in shown("--help") for name in ("plan", "restart", "node"))


def test_compiled_templates_are_kept_for_the_next_process(cache: Path) -> None:
    service = catalog.load().services["keystone"]
    render._jinja.cache_clear()
    render.environment_for(service).get_template("keystone.conf.j2")
    kept = {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert kept
    render._jinja.cache_clear()
    render.environment_for(service).get_template("keystone.conf.j2")
    assert {file.name: file.stat().st_mtime_ns for file in cache.iterdir()} == kept
    render._jinja.cache_clear()


def test_a_folder_that_others_can_write_to_is_not_used(cache: Path) -> None:
    assert render._compiled() is not None
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    assert render._compiled() is None


def test_without_a_folder_templates_are_compiled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert render._compiled() is None
