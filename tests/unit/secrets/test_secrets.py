# SPDX-License-Identifier: Apache-2.0
"""Vault files, the vault password and its rotation, and secrets."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultLib, VaultSecret

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment, Settings
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault

SETTINGS = {
    "release": "2025.1",
    "networks": {"management": {"cidr": "192.0.2.0/24"}},
    "api": {
        "internal": {"address": "192.0.2.9", "name": "internal.example"},
        "external": {"address": "192.0.2.10", "name": "api.example"},
    },
    "registry": {"address": "192.0.2.1"},
}


def region(path: Path, **vault_settings: str) -> Environment:
    settings = Settings.model_validate({**SETTINGS, **(vault_settings or {"vault_password_file": "vault_password"})})
    return Environment(name="test", path=path, settings=settings)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    return made


def ansible(password: bytes) -> VaultLib:
    return VaultLib([(DEFAULT_VAULT_ID_MATCH, VaultSecret(password))])


@pytest.mark.parametrize("text", ["", "a: b\n", "ä" * 17, "x" * 1000])
def test_ansible_reads_our_files_and_we_read_ansibles(text: str) -> None:
    ours = vault.encrypt(text, b"correct horse")
    assert ansible(b"correct horse").decrypt(ours).decode() == text
    theirs = ansible(b"correct horse").encrypt(text).decode()
    assert vault.decrypt(theirs, b"correct horse", "x") == text
    labelled = ansible(b"correct horse").encrypt(text, vault_id="region").decode()
    assert labelled.startswith("$ANSIBLE_VAULT;1.2;AES256;region")
    assert vault.decrypt(labelled, b"correct horse", "x") == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: b\n", "not encrypted with ansible-vault"),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162", "damaged"),
        ("$ANSIBLE_VAULT;1.1;AES256\nzz", "damaged"),
        (vault.encrypt("a: b", b"another"), "the vault password is wrong"),
    ],
)
def test_a_file_that_cannot_be_decrypted_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as error:
        vault.decrypt(text, b"password", "secrets.yml")
    assert "\n" not in str(error.value)


def test_missing_secrets_are_added_and_others_stay(environment: Environment) -> None:
    assert secrets.ensure(environment, ["b_password", "a_password"]) == ["a_password", "b_password"]
    first = secrets.load(environment)
    assert all(len(v) == 32 and v.isalnum() for v in first.values())
    assert secrets.ensure(environment, ["a_password", "c_password"]) == ["c_password"]
    assert first.items() <= secrets.load(environment).items()
    assert environment.secrets_file.stat().st_mode & 0o777 == 0o600
    before = environment.secrets_file.read_bytes()
    assert secrets.ensure(environment, ["a_password"]) == []
    assert environment.secrets_file.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a]", "expected a mapping"),
        ("a: 123456", "a: the value must be a string, got int"),
        ("a: {b: hunter2}", "a: the value must be a string"),
        ("a: ''", "a: the value is empty"),
        ("a: 'hunter2", "unexpected end"),
        ("a: hunter2\na: hunter2", "duplicate key"),
    ],
)
def test_bad_secrets_are_refused_without_showing_them(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=says) as error:
        secrets.parse(text, tmp_path / "secrets.yml")
    assert "hunter2" not in str(error.value)
    assert "123456" not in str(error.value)


def test_password_from_a_command(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("from the command\n")
    assert vault.password(region(tmp_path, vault_password_command="cat there")) == b"from the command"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vault_password_file": "absent"}, r"vault_password_file: .*absent does not exist \(scs secrets init"),
        ({"vault_password_file": "empty"}, "vault_password_file: .*is empty"),
        ({"vault_password_command": "false"}, "vault_password_command: false exited with 1"),
        ({"vault_password_command": "true"}, "vault_password_command: true printed nothing"),
        ({"vault_password_command": "no-such-program"}, "no-such-program: No such file"),
        ({"vault_password_command": "echo 'x"}, "vault_password_command: No closing quotation"),
        ({"vault_password_command": " "}, "vault_password_command: is empty"),
    ],
)
def test_the_error_for_a_missing_password_names_the_key(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(RefusedError, match=says):
        vault.password(region(tmp_path, **settings))


def test_a_password_file_that_ansible_would_run_is_refused(environment: Environment) -> None:
    file = vault.password_file(environment)
    assert file is not None
    file.chmod(0o700)
    with pytest.raises(RefusedError, match=f"{file} is executable") as error:
        vault.password(environment)
    assert "vault_password_command" in error.value.hint


def test_a_lost_password_is_not_replaced(environment: Environment) -> None:
    secrets.ensure(environment, ["a"])
    (environment.path / "vault_password").unlink()
    with pytest.raises(RefusedError, match="restore the password file"):
        vault.create_password(environment)


def test_created_password_is_private_and_stays(tmp_path: Path) -> None:
    made = region(tmp_path)
    file = vault.create_password(made)
    assert file and file.stat().st_mode & 0o777 == 0o600
    first = vault.password(made)
    assert vault.create_password(made) is None
    assert vault.password(made) == first


def test_rotation_reencrypts_everything(environment: Environment) -> None:
    secrets.ensure(environment, ["a"])
    vault.save(environment, environment.certificates_file, "ca: x\n")
    before, old = secrets.load(environment), vault.password(environment)
    assert len(vault.rotate(environment, b"the new password")) == 3
    assert vault.password(environment) == b"the new password" != old
    assert secrets.load(environment) == before
    assert vault.read(environment, environment.certificates_file) == "ca: x\n"
    assert sorted(p.name for p in environment.state.iterdir()) == ["vault.lock"]


def test_rotation_refuses_before_it_changes_anything(environment: Environment) -> None:
    secrets.ensure(environment, ["a"])
    environment.certificates_file.write_text(vault.encrypt("ca: x", b"foreign password"))
    files = {p: p.read_bytes() for p in environment.path.glob("*") if p.is_file()}
    with pytest.raises(RefusedError, match=r"certificates\.yml: cannot decrypt"):
        vault.rotate(environment, b"the new password")
    assert files == {p: p.read_bytes() for p in environment.path.glob("*") if p.is_file()}


@pytest.mark.parametrize("writes", range(6))
def test_an_interrupted_rotation_is_all_old_or_all_new(
    writes: int, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.ensure(environment, ["a"])
    vault.save(environment, environment.certificates_file, "ca: x\n")
    before, old = secrets.load(environment), vault.password(environment)
    real, left = vault.write, [writes]

    def dies(file: Path, text: str, mode: int = 0o600) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(file, text, mode)

    monkeypatch.setattr(vault, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        vault.rotate(environment, b"the new password")
    monkeypatch.undo()
    assert vault.password(environment) == (old if writes < 3 else b"the new password")
    assert secrets.load(environment) == before
    assert vault.read(environment, environment.certificates_file) == "ca: x\n"
    assert sorted(p.name for p in environment.state.iterdir()) == ["vault.lock"]


def test_who_finishes_a_rotation_late_overwrites_nothing(environment: Environment) -> None:
    """Another process finished it, and changed a secret, before this one got the lock."""
    secrets.ensure(environment, ["a"])
    staged = environment.state / "vault-rotation"
    staged.mkdir()
    for file in (environment.secrets_file, environment.path / "vault_password"):
        if file.is_file():
            (staged / file.name).write_bytes(file.read_bytes())
    late = threading.Thread(target=lambda: vault.password(environment))
    with vault.locked(environment):
        late.start()
        late.join(0.3)
        assert late.is_alive()
        assert staged.is_dir()
        # the same thread may ask for the lock again
        secrets.ensure(environment, ["a", "b"])
        newer = environment.secrets_file.read_bytes()
    late.join(10)
    assert environment.secrets_file.read_bytes() == newer
    assert secrets.load(environment).keys() == {"a", "b"}


def test_a_failed_write_leaves_the_old_file(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.ensure(environment, ["a"])
    before = environment.secrets_file.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        vault.write(environment.secrets_file, "x")
    assert environment.secrets_file.read_bytes() == before
    assert not list(environment.path.glob(".secrets*"))


def test_state_may_be_missing(environment: Environment) -> None:
    shutil.rmtree(environment.state, ignore_errors=True)
    assert secrets.ensure(environment, ["a"]) == ["a"]
