# SPDX-License-Identifier: Apache-2.0
"""Encryption of backups with age (https://age-encryption.org/v1), using a key in the environment's vault.

Reading a backup requires the vault password and secrets.yml. The target of the backups needs neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import pyrage

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup.manifest import PIECE
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault

SECRET = "backup_age_identity"  # noqa: S105 - a secret's name
"""Name in secrets.yml; the value is AGE-SECRET-KEY-1..."""

NO_KEY = "No matching keys"
"""pyrage's message if the key matches none of the recipients."""


class Reads(Protocol):
    """A source of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes; none at the end."""


class Writes(Protocol):
    """A sink for bytes."""

    def write(self, data: bytes, /) -> int:
        """Write all bytes."""


def identity(environment: Environment, file: Path | None = None) -> str:
    """The secret key that decrypts the region's backups.

    :param file: read the key from this file, as written by `age-keygen`, instead of from the vault
    :raises RefusedError: no key, or not an age key
    """
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError(f"{file}: cannot be read: {error}") from None
        found = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
        public(found, str(file))
        return found
    found = secrets.load(environment).get(SECRET, "")
    if not found:
        raise RefusedError(
            f"{environment.secrets_file}: no secret '{SECRET}'",
            "`scs backup create` generates it; to read older backups, restore the secrets.yml of that time",
        )
    public(found, str(environment.secrets_file))
    return found


def has_identity(environment: Environment) -> bool:
    """Whether the region has a secret key for its backups.

    :raises RefusedError: no vault password, or secrets.yml cannot be read
    """
    return SECRET in secrets.load(environment)


def ensure_identity(environment: Environment) -> tuple[str, bool]:
    """The region's secret key, generated if missing, and whether it was generated.

    :raises RefusedError: no vault password, or secrets.yml cannot be read
    """
    with vault.locked(environment):
        present = secrets.load(environment)
        if SECRET in present:
            public(present[SECRET], str(environment.secrets_file))
            return present[SECRET], False
        made = str(pyrage.x25519.Identity.generate())
        vault.save(environment, environment.secrets_file, secrets.dump({**present, SECRET: made}))
        return made, True


def public(secret: str, where: str) -> str:
    """The recipient `age1...` of a secret key.

    :param where: name of the file in errors
    :raises RefusedError: not an age key
    """
    try:
        return str(pyrage.x25519.Identity.from_str(secret.strip()).to_public())
    except pyrage.IdentityError:
        raise RefusedError(
            f"{where}: {SECRET}: is not an age secret key", "restore it from an earlier secrets.yml"
        ) from None


def check_recipients(recipients: Sequence[str], where: str) -> None:
    """Refuse invalid recipients.

    :raises RefusedError: names the first invalid recipient
    """
    for one in recipients:
        try:
            pyrage.x25519.Recipient.from_str(one)
        except pyrage.RecipientError:
            raise RefusedError(
                f"{where}: backup.recipients: '{one}' is not an age recipient", "recipients begin with age1"
            ) from None


class Counter:
    """Forwards bytes, and counts and hashes them."""

    def __init__(self, to: Writes, seen: Callable[[int], None] = lambda _size: None) -> None:
        self.size = 0
        self._to, self._seen, self._hash = to, seen, hashlib.sha256()
        self._piece, self._pieces = hashlib.sha256(), list[str]()

    def write(self, data: bytes, /) -> int:
        """Forward bytes."""
        self._to.write(data)
        self._hash.update(data)
        self._cut(memoryview(data))
        self.size += len(data)
        self._seen(self.size)
        return len(data)

    def flush(self) -> None:
        """Does nothing: there is no buffer."""

    def _cut(self, data: memoryview) -> None:
        at = self.size % PIECE
        while data:
            here = data[: PIECE - at]
            self._piece.update(here)
            data, at = data[len(here) :], at + len(here)
            if at == PIECE:
                self._pieces.append(self._piece.hexdigest())
                self._piece, at = hashlib.sha256(), 0

    @property
    def sha256(self) -> str:
        """Hash of all bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def pieces(self) -> tuple[str, ...]:
        """Hash of each piece, in hexadecimal."""
        return (*self._pieces, *([self._piece.hexdigest()] if self.size % PIECE else ()))


def encrypt(source: Reads, to: Writes, recipients: Sequence[str]) -> None:
    """Copy a stream, encrypted so that each recipient can read it."""
    pyrage.encrypt_io(source, to, [pyrage.x25519.Recipient.from_str(r) for r in recipients])


def decrypt(source: Reads, to: Writes, secret: str, name: str) -> None:
    """Copy a stream, decrypted.

    :param name: name of the file in errors
    :raises RefusedError: wrong key, not an age file, or damaged
    :raises BrokenPipeError: the reader of `to` ended, and reports the reason itself
    :raises ScsError: a read or a write failed
    """
    try:
        pyrage.decrypt_io(source, to, [pyrage.x25519.Identity.from_str(secret)])
    except pyrage.DecryptError as error:
        # the exception is the same for a wrong key and for a damaged header; its text only selects the hint
        if NO_KEY in str(error):
            raise RefusedError(
                f"{name}: encrypted with a different key than {SECRET}",
                "use the secrets.yml of the time of the backup, or --identity",
            ) from None
        raise _damaged(name, error) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        # the library reports a damaged chunk as an OSError without errno
        if error.errno is None:
            raise _damaged(name, error) from None
        raise ScsError(f"{name}: {error}") from None


def _damaged(name: str, error: Exception) -> RefusedError:
    return RefusedError(
        f"{name}: is damaged and cannot be decrypted: {error}", "choose another backup: scs backup list"
    )
