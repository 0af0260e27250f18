# SPDX-License-Identifier: Apache-2.0
"""Completion as a user has it: `scs --install-completion` in a fresh home, then a real bash that completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASH = shutil.which("bash")

ASK = """
source ~/.bashrc
COMP_WORDS=({words}) COMP_CWORD={last}
_scs_completion scs
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which completion was installed from bash."""
    folder = tmp_path_factory.mktemp("home")
    done = _bash(folder, "scs --install-completion")
    assert done.returncode == 0, done.stderr
    assert "completion installed" in done.stdout
    return folder


def _bash(home: Path, script: str) -> subprocess.CompletedProcess[str]:
    assert BASH
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # a bash that reads its commands from standard input is the parent that the installation looks for
    return subprocess.run(
        [BASH, "--norc"], input=script, env={**os.environ, "HOME": str(home), "PATH": path}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.skipif(not BASH, reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["scs", "rollb"], {"rollback"}),
        (["scs", "backup", "v"], {"verify"}),
        (["scs", "plan", "--exit"], {"--exit-code"}),
    ],
)
def test_bash_completes(home: Path, words: list[str], offered: set[str]) -> None:
    done = _bash(home, ASK.format(words=" ".join(words), last=len(words) - 1))
    assert set(done.stdout.split()) == offered, done.stderr
