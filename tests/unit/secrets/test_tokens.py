# SPDX-License-Identifier: Apache-2.0
"""Tokens of the OpenStack client, kept as openstacksdk keeps them: through the keyring package."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from keyring.errors import PasswordDeleteError

from scs_deploy.secrets.tokens import TokenFile

KEEP = "import keyring, sys; keyring.set_password('openstacksdk', sys.argv[1], 'token of ' + sys.argv[1])"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCS_TOKENS_FILE", str(tmp_path / "tokens.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "scs_deploy.secrets.tokens.TokenFile")
    return tmp_path / "tokens.json"


def test_clients_side_by_side_keep_their_tokens(file: Path) -> None:
    def client(name: str) -> None:
        subprocess.run([sys.executable, "-c", KEEP, name], check=True, capture_output=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client, "abcd"))
    assert [TokenFile().get_password("openstacksdk", n) for n in "abcd"] == [f"token of {n}" for n in "abcd"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [f.name for f in file.parent.iterdir()] == ["tokens.json"]


def test_a_token_is_forgotten(file: Path) -> None:
    tokens = TokenFile()
    tokens.set_password("openstacksdk", "a", "x")
    tokens.delete_password("openstacksdk", "a")
    assert tokens.get_password("openstacksdk", "a") is None
    with pytest.raises(PasswordDeleteError):
        tokens.delete_password("openstacksdk", "a")


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_damaged_file_is_no_token(file: Path, content: str) -> None:
    file.write_text(content)
    assert TokenFile().get_password("openstacksdk", "a") is None
    TokenFile().set_password("openstacksdk", "a", "x")
    assert TokenFile().get_password("openstacksdk", "a") == "x"


def test_a_folder_that_is_gone_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCS_TOKENS_FILE", str(tmp_path / "gone" / "tokens.json"))
    TokenFile().set_password("openstacksdk", "a", "x")
    assert TokenFile().get_password("openstacksdk", "a") is None
