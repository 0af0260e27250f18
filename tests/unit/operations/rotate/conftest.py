# SPDX-License-Identifier: Apache-2.0
"""An environment with secrets, made by the commands that operators use."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from tests.support.secret_commands import run


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.delenv("SCS_ENVIRONMENT", raising=False)
    run("env", "init", "berlin", "--from", "testbed")
    run("secrets", "init", "--create-vault-password")
    return environments.load("berlin")


@pytest.fixture
def lock_file(environment: Environment) -> None:
    """A release lock that nothing reads."""
    environment.lock_file.write_text("release: '2025.1'\nimages: {}\n")
