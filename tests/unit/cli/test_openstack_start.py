# SPDX-License-Identifier: Apache-2.0
"""`scs openstack` loads nothing if the region is as it was last time, and starts the client with the same variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.cli import _client, openstack
from scs_deploy.environment import environment as environments
from scs_deploy.secrets import clouds, store, vault
from tests.unit.secrets.test_secrets import SETTINGS

CLIENT = '#!/bin/sh\necho "$OS_CLOUD $OS_CLIENT_CONFIG_FILE $@"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment `test`, whose client has not been started yet."""
    made = tmp_path / "environments" / "test"
    made.mkdir(parents=True)
    settings = {**SETTINGS, "vault_password_file": "vault_password"}
    (made / "environment.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(made.parent))
    environment = environments.load("test")
    vault.create_password(environment)
    store.ensure(environment, [clouds.PASSWORD])
    return made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and variables of every start."""
    seen: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _program, words, variables: seen.append((words, variables)))
    return seen


def test_the_second_start_is_as_the_first(
    folder: Path, started: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["openstack", "server", "list", "-e", "x"]
    _client.start_at_once(["openstack", "-e", "test", *words[1:]])
    assert started == []
    openstack.openstack(words[1:], "test")
    _client.start_at_once(["openstack", "-e", "test", *words[1:]])
    assert started[0][0] == words
    assert started[0] == started[1]
    for chosen in ("variable", "marker"):
        if chosen == "variable":
            monkeypatch.setenv("SCS_ENVIRONMENT", "test")
        else:
            monkeypatch.delenv("SCS_ENVIRONMENT")
            (folder.parent / ".current").write_text("test\n", encoding="utf-8")
        _client.start_at_once(["openstack", *words[1:]])
        assert started.pop()[1]["OS_CLOUD"] == "test-admin", chosen


@pytest.mark.parametrize(
    "changed", ["environment.yml", "secrets.yml", "state/client.yaml", "state/clouds.yaml", "mode"]
)
def test_what_has_changed_is_read_again(
    folder: Path, started: list[tuple[list[str], dict[str, str]]], changed: str
) -> None:
    openstack.openstack(["token", "issue"], "test")
    started.clear()
    if changed == "mode":
        (folder / "state/secure.yaml").chmod(0o644)
    elif changed.startswith("state/"):
        (folder / changed).unlink()
    else:
        os.utime(folder / changed, (1, 1))
    _client.start_at_once(["openstack", "-e", "test", "token", "issue"])
    assert started == []
    openstack.openstack(["token", "issue"], "test")
    _client.start_at_once(["openstack", "-e", "test", "token", "issue"])
    assert len(started) == 2


@pytest.mark.parametrize(
    "arguments", [["plan"], ["openstack"], ["openstack", "-e"], ["openstack", "-e", "test", "--help"], []]
)
def test_other_command_lines_are_read_by_typer(
    folder: Path, started: list[tuple[list[str], dict[str, str]]], arguments: list[str]
) -> None:
    openstack.openstack(["token", "issue"], "test")
    started.clear()
    _client.start_at_once(arguments)
    assert started == []


def test_it_loads_neither_typer_nor_pydantic(folder: Path, tmp_path: Path) -> None:
    clouds.write(environments.load("test"))
    program = tmp_path / "bin" / "openstack"
    program.parent.mkdir()
    program.write_text(CLIENT, encoding="utf-8")
    program.chmod(0o755)
    code = f"""
import sys
sys.executable = {str(program.with_name("python"))!r}
sys.argv = ["scs", "openstack", "token", "issue"]
for name in ("typer", "pydantic", "yaml", "rich"):
    sys.modules[name] = None
from scs_deploy.cli.main import main
main()
"""
    variables: dict[str, Any] = {**os.environ, "SCS_ENVIRONMENT": "test", "PYTHONPATH": str(paths.root())}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.stdout == f"test-admin {folder}/state/client.yaml token issue\n", done.stderr
