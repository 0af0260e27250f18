# SPDX-License-Identifier: Apache-2.0
"""Edit secrets with a real editor process: the edit is encrypted, or kept if it is invalid."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import editor, vault
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets.editor import edit
from scs_deploy.state.lock import RunLock, region_lock
from tests.unit.secrets.test_secrets import region


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    made = region(tmp_path)
    vault.create_password(made)
    secrets.ensure(made, ["a", "b"])
    return made


def test_changes_are_encrypted_and_named(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i -e 's/^a: .*/a: chosen/' -e 's/^b: .*/c: new/'")
    assert edit(environment) == ["a", "b", "c"]
    assert secrets.load(environment) == {"a": "chosen", "c": "new"}
    assert environment.secrets_file.read_text().startswith("$ANSIBLE_VAULT")


def test_no_change_leaves_the_file(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.secrets_file.read_bytes()
    monkeypatch.setenv("EDITOR", "true")
    assert edit(environment) == []
    assert environment.secrets_file.read_bytes() == before


def test_an_invalid_edit_is_kept_and_can_be_resumed(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.secrets_file.read_bytes()
    monkeypatch.setenv("EDITOR", "sed -i 's/^a: .*/a: [/'")
    with pytest.raises(RefusedError, match="nothing changed") as error:
        edit(environment)
    assert environment.secrets_file.read_bytes() == before
    kept = Path(re.search(r"--resume (\S+)$", error.value.hint).group(1))  # type: ignore[union-attr]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("EDITOR", "sed -i 's/^a: .*/a: fixed/'")
    assert edit(environment, kept) == ["a"]
    assert secrets.load(environment)["a"] == "fixed"
    assert not kept.parent.exists()


def test_a_concurrent_change_is_not_lost(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = environment.secrets_file.with_suffix(".other")
    vault.save(environment, other, secrets.dump({"a": "theirs"}))
    script = tmp_path / "editor"
    script.write_text(f"#!/bin/sh\ncp {other} {environment.secrets_file}\necho 'c: mine' >> $1\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    with pytest.raises(RefusedError, match="changed in the meantime") as error:
        edit(environment)
    assert secrets.load(environment) == {"a": "theirs"}
    shutil.rmtree(Path(error.value.hint.split()[-1]).parent)


def test_an_edit_is_kept_while_a_run_uses_the_secrets(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environment.secrets_file.read_bytes()
    monkeypatch.setenv("EDITOR", "sed -i 's/^a: .*/a: chosen/'")
    with (
        RunLock(environment.state / "lock", "scs apply"),
        pytest.raises(RefusedError, match=r"is locked by .*`scs apply`.*; your edit was not saved") as error,
    ):
        edit(environment, lock=region_lock(environment))
    assert environment.secrets_file.read_bytes() == before
    monkeypatch.setenv("EDITOR", "true")
    assert edit(environment, Path(error.value.hint.split()[-1]), region_lock(environment)) == ["a"]


def test_a_missing_in_memory_file_system_is_refused(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(editor, "MEMORY", tmp_path)
    monkeypatch.setattr(editor, "_FILESYSTEMS", ("nothing",))
    with pytest.raises(RefusedError, match="not an in-memory file system"):
        edit(environment)
