# SPDX-License-Identifier: Apache-2.0
"""Errors of commands, from a shell: one line or one JSON object, the exit code, the traceback only on demand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    """A folder with one region, whose state folder is a file."""
    assert scs(tmp_path, "env", "init", "berlin").returncode == 0
    state = tmp_path / "berlin" / "state"
    if state.is_dir():
        state.rename(tmp_path / "berlin" / "state.old")
    state.write_text("")
    return tmp_path


def scs(regions: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SCS_ENVIRONMENTS": str(regions), "SCS_ENVIRONMENT": "berlin", **variables}
    return subprocess.run([*SCS, *arguments], env=environ, capture_output=True, text=True, check=False)


def test_one_line_and_the_exit_code(regions: Path) -> None:
    done = scs(regions, "runs", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {regions}/berlin/state/runs.sqlite3: not a directory\n"


def test_json_where_it_is_asked_for(regions: Path) -> None:
    done = scs(regions, "runs", "list", "--json")
    assert done.returncode == 2
    said = {"error": f"{regions}/berlin/state/runs.sqlite3: not a directory", "hint": "", "exit_code": 2}
    assert json.loads(done.stderr) == said


def test_a_traceback_only_with_debug(regions: Path) -> None:
    assert "Traceback" not in scs(regions, "runs", "list").stderr
    assert "Traceback" in scs(regions, "--debug", "runs", "list").stderr


@pytest.mark.parametrize("shell", [{"LC_ALL": "C"}, {"LANG": "de_DE.UTF-8"}, {"XDG_RUNTIME_DIR": "/missing"}])
def test_the_shell_changes_nothing(regions: Path, shell: dict[str, str]) -> None:
    (regions / "berlin" / "environment.yml").write_text("---\nregion: Münch en\n", encoding="utf-8")
    done = scs(regions, "plan", **shell)
    assert done.returncode == 2
    assert done.stderr == scs(regions, "plan").stderr
