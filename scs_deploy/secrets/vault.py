# SPDX-License-Identifier: Apache-2.0
"""An environment's ansible-vault files: the password, the format, atomic writes, and password rotation.

The format is implemented here because importing Ansible would cost each command 0.25 s:
https://docs.ansible.com/ansible/latest/vault_guide/vault_encrypting_content.html#ansible-vault-payload-format-1-1-1-2
"""

from __future__ import annotations

import binascii
import fcntl
import hmac
import os
import secrets
import shlex
import shutil
import string
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.reading import read_text
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment

_holding = threading.local()
"""The lock files that a thread holds."""

_HEADER = "$ANSIBLE_VAULT"
_ROTATION = "vault-rotation"
_PASSWORD = "vault_password"  # noqa: S105 - a file name


def encrypt(plain: str, password: bytes) -> str:
    """Encrypt text as a vault file, format 1.1: AES-256-CTR, HMAC-SHA256, keys derived with PBKDF2."""
    from cryptography.hazmat.primitives import padding

    salt = os.urandom(32)
    cipher_key, mac_key, counter = _keys(password, salt)
    padder = padding.PKCS7(128).padder()
    data = _cipher(cipher_key, counter, padder.update(plain.encode()) + padder.finalize())
    mac = hmac.digest(mac_key, data, "sha256")
    body = b"\n".join(binascii.hexlify(part) for part in (salt, mac, data)).hex()
    lines = [f"{_HEADER};1.1;AES256", *(body[i : i + 80] for i in range(0, len(body), 80))]
    return "\n".join(lines) + "\n"


def decrypt(text: str, password: bytes, name: str) -> str:
    """Decrypt a vault file, format 1.1 or 1.2.

    :param name: the file's name in errors
    :raises RefusedError: not a vault file, or a wrong password
    """
    from cryptography.hazmat.primitives import padding

    header, _, body = text.partition("\n")
    parts = header.strip().split(";")
    if parts[0] != _HEADER or len(parts) < 3 or parts[1] not in ("1.1", "1.2") or parts[2] != "AES256":
        raise RefusedError(f"{name}: not encrypted with ansible-vault", f"ansible-vault encrypt {name}")
    try:
        salt, mac, data = (
            binascii.unhexlify(part) for part in binascii.unhexlify("".join(body.split())).split(b"\n", 2)
        )
    except ValueError:
        raise RefusedError(f"{name}: the vault file is damaged", "restore it from a backup") from None
    cipher_key, mac_key, counter = _keys(password, salt)
    if not hmac.compare_digest(mac, hmac.digest(mac_key, data, "sha256")):
        raise RefusedError(
            f"{name}: cannot decrypt: the vault password is wrong, or the file is damaged",
            "check vault_password_file or vault_password_command in environment.yml",
        )
    unpadder = padding.PKCS7(128).unpadder()
    try:
        return (unpadder.update(_cipher(cipher_key, counter, data)) + unpadder.finalize()).decode()
    except ValueError:
        raise RefusedError(f"{name}: the content is not UTF-8 text", f"ansible-vault edit {name}") from None


def _keys(password: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    key = PBKDF2HMAC(hashes.SHA256(), length=80, salt=salt, iterations=10000).derive(password)
    return key[:32], key[32:64], key[64:]


def _cipher(key: bytes, counter: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # in counter mode, encryption and decryption are the same operation
    run = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return run.update(data) + run.finalize()


def random_password() -> str:
    """32 characters [A-Za-z0-9], 190 bits. Needs no quoting in files or URLs."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))


def password_file(environment: Environment) -> Path | None:
    """The path that `vault_password_file` names, or None if a command prints the password."""
    name = environment.settings.vault_password_file
    return (environment.path / name) if name is not None else None


def password(environment: Environment) -> bytes:
    """The vault password from the file or the command that environment.yml names.

    :raises RefusedError: the file or command is missing, fails or yields nothing
    """
    _finish_rotation(environment)
    file = password_file(environment)
    if file is not None:
        what = f"{environment.file}: vault_password_file"
        if file.exists() and not file.is_file():
            # a pipe would block, and could be read once only
            raise RefusedError(f"{what}: {file} is not a regular file", "vault_password_command reads from elsewhere")
        return read_password(file, what)
    return _from_command(environment)


def read_password(file: Path, what: str) -> bytes:
    """The password in a file, without surrounding white space.

    :param what: key or option that names the file, for errors
    :raises RefusedError: the file cannot be read, is empty, or is a program to ansible-vault
    """
    try:
        content = file.read_bytes().strip()
        # ansible-vault runs such a file and takes what it prints: the same file would be another password
        if file.stat().st_mode & 0o111:
            raise RefusedError(
                f"{what}: {file} is executable: ansible-vault would run it",
                "chmod -x it, or name a program as vault_password_command",
            )
    except FileNotFoundError:
        raise RefusedError(f"{what}: {file} does not exist", "scs secrets init --create-vault-password") from None
    except PermissionError as error:
        raise RefusedError(f"{what}: {file}: {error.strerror}", "run scs as its owner, or with sudo") from None
    except OSError as error:
        raise RefusedError(f"{what}: {file}: {error.strerror}", "make it readable for your user") from None
    if not content:
        raise RefusedError(f"{what}: {file} is empty", "write the vault password to it")
    return content


def _from_command(environment: Environment) -> bytes:
    what = f"{environment.file}: vault_password_command"
    try:
        argv = shlex.split(environment.settings.vault_password_command or "")
    except ValueError as error:
        raise RefusedError(f"{what}: {error}", "fix the quotes") from None
    if not argv:
        raise RefusedError(f"{what}: is empty", "set it to a command that prints the vault password")
    try:
        # stdin and stderr stay connected to the terminal, for a passphrase or a PIN
        done = subprocess.run(argv, cwd=environment.path, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise RefusedError(f"{what}: {argv[0]}: {error.strerror}", "install it or correct the command") from None
    if done.returncode:
        raise RefusedError(f"{what}: {argv[0]} exited with {done.returncode}", "run it by hand to see why")
    output = done.stdout.strip()
    if not output:
        raise RefusedError(f"{what}: {argv[0]} printed nothing", "it must print the vault password")
    return output


def create_password(environment: Environment) -> Path | None:
    """Write a random password to `vault_password_file` if the file is missing. Returns the file if written.

    :raises RefusedError: a vault file already exists (its password is lost), or a command prints the password
    """
    file = password_file(environment)
    if file is None:
        raise RefusedError(
            f"{environment.file}: vault_password_command is set",
            "--create-vault-password works with vault_password_file only",
        )
    if file.exists():
        return None
    for existing in (environment.secrets_file, environment.certificates_file):
        if existing.exists():
            raise RefusedError(
                f"{file} is missing, and {existing} is encrypted with its password", "restore the password file"
            )
    write(file, f"{random_password()}\n")
    return file


def read(environment: Environment, file: Path) -> str:
    """Decrypt one of the environment's vault files.

    :raises RefusedError: it is missing or cannot be decrypted
    """
    key = password(environment)
    if not os.path.lexists(file):
        raise RefusedError(f"{file}: no such file", "scs secrets init")
    return decrypt(read_text(file), key, str(file))


def save(environment: Environment, file: Path, plain: str) -> None:
    """Encrypt and write one of the environment's vault files atomically, mode 0600.

    :raises RefusedError: no vault password
    """
    write(file, encrypt(plain, password(environment)))


def write(file: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file atomically: a reader sees the old or the new content, even after a crash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


@contextmanager
def locked(environment: Environment) -> Iterator[None]:
    """Lock the vault files while they are read, changed and written back, so that no concurrent change is lost.

    A thread that holds the lock may ask for it again.
    """
    _state(environment)
    file = environment.state / "vault.lock"
    held = getattr(_holding, "files", frozenset[Path]())
    if file in held:
        yield
        return
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _holding.files = held | {file}
        try:
            yield
        finally:
            _holding.files = held


def rotate(environment: Environment, new: bytes) -> list[Path]:
    """Encrypt all vault files with a new password and write it to `vault_password_file`. Returns the files written.

    All new contents are staged in a folder first. Renaming that folder commits the rotation: before it, every reader
    sees the old files; after it, every reader finishes an interrupted rotation first and sees the new ones.

    :raises RefusedError: the new password is too short, or a file cannot be decrypted
    """
    if len(new) < 8:
        raise RefusedError("the new vault password is too short", "use at least 8 characters")
    try:
        readable = new.decode()
    except UnicodeDecodeError:
        raise RefusedError("the new vault password is not valid UTF-8") from None
    with locked(environment):
        old = password(environment)
        files = [f for f in (environment.secrets_file, environment.certificates_file) if f.exists()]
        # read all files before writing any
        texts = {f.name: encrypt(decrypt(f.read_text(encoding="utf-8"), old, str(f)), new) for f in files}
        target = password_file(environment)
        if target is not None:
            texts[_PASSWORD] = readable + "\n"
            files.append(target)
        staging = Path(tempfile.mkdtemp(prefix=f"{_ROTATION}.", dir=_state(environment)))
        try:
            for name, text in texts.items():
                write(staging / name, text)
            staging.rename(environment.state / _ROTATION)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _finish_rotation(environment)
        return files


def _finish_rotation(environment: Environment) -> None:
    staged = environment.state / _ROTATION
    if not staged.is_dir():
        return
    with locked(environment):
        # whoever held the lock may have finished it, and changed the files since
        if staged.is_dir():
            _finish(environment, staged)


def _finish(environment: Environment, staged: Path) -> None:
    targets = {f.name: f for f in (environment.secrets_file, environment.certificates_file)}
    file = password_file(environment)
    if file is not None:
        targets[_PASSWORD] = file
    for name, target in targets.items():
        # an interrupted finish has removed some already
        with suppress(FileNotFoundError):
            write(target.resolve(), (staged / name).read_text(encoding="utf-8"))
    shutil.rmtree(staged, ignore_errors=True)


def _state(environment: Environment) -> Path:
    sharing.check_may_change(environment)
    return sharing.make_state(environment)
