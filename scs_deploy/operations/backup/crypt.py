# SPDX-License-Identifier: Apache-2.0
"""Encryption of backups: age (https://age-encryption.org/v1), to a key whose secret half is in the environment's vault.

Whoever has the vault password and secrets.yml reads every backup; the target of the backups needs neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import pyrage

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault

SECRET = "backup_age_identity"  # noqa: S105 - a secret's name
"""In secrets.yml: AGE-SECRET-KEY-1..."""

NO_KEY = "No matching keys"
"""How pyrage words that none of the recipients' keys is the given one."""


class Reads(Protocol):
    """Where bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Writes(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> int:
        """All of them."""


def identity(environment: Environment, file: Path | None = None) -> str:
    """The secret key that opens the region's backups.

    :param file: has another one than the vault's, as `age-keygen` writes it
    :raises RefusedError: there is none, or it is no age key
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
            "`scs backup create` makes it; to read older backups, restore the secrets.yml of that time",
        )
    public(found, str(environment.secrets_file))
    return found


def ensure_identity(environment: Environment) -> tuple[str, bool]:
    """The region's secret key, made when there is none; and whether it was made.

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

    :param where: what an error calls the file
    :raises RefusedError: it is no age key
    """
    try:
        return str(pyrage.x25519.Identity.from_str(secret.strip()).to_public())
    except pyrage.IdentityError:
        raise RefusedError(
            f"{where}: {SECRET}: is not an age secret key", "restore it from an earlier secrets.yml"
        ) from None


def check_recipients(recipients: Sequence[str], where: str) -> None:
    """Refuse keys that cannot be encrypted to.

    :raises RefusedError: names the first one
    """
    for one in recipients:
        try:
            pyrage.x25519.Recipient.from_str(one)
        except pyrage.RecipientError:
            raise RefusedError(
                f"{where}: backup.recipients: '{one}' is not an age recipient", "recipients begin with age1"
            ) from None


class Counter:
    """Passes bytes on, counts and hashes them."""

    def __init__(self, to: Writes, seen: Callable[[int], None] = lambda _size: None) -> None:
        self.size = 0
        self._to, self._seen, self._hash = to, seen, hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        """Pass on."""
        self._to.write(data)
        self._hash.update(data)
        self.size += len(data)
        self._seen(self.size)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    @property
    def sha256(self) -> str:
        """Of all so far, in hexadecimal."""
        return self._hash.hexdigest()


def encrypt(source: Reads, to: Writes, recipients: Sequence[str]) -> None:
    """Copy a stream, encrypted so that each recipient can read it."""
    pyrage.encrypt_io(source, to, [pyrage.x25519.Recipient.from_str(r) for r in recipients])


def decrypt(source: Reads, to: Writes, secret: str, name: str) -> None:
    """Copy a stream, decrypted.

    :param name: what an error calls the file
    :raises RefusedError: another key, not an age file, or damaged
    :raises BrokenPipeError: the reader of `to` ended, and knows why
    :raises ScsError: a read or a write failed
    """
    try:
        pyrage.decrypt_io(source, to, [pyrage.x25519.Identity.from_str(secret)])
    except pyrage.DecryptError as error:
        # one exception for a wrong key and for a damaged header; the text decides only which advice is given
        if NO_KEY in str(error):
            raise RefusedError(
                f"{name}: encrypted with a different key than {SECRET}",
                "use the secrets.yml of the time of the backup, or --identity",
            ) from None
        raise _damaged(name, error) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        # the library reports a damaged chunk as an OSError without the number that the system's errors have
        if error.errno is None:
            raise _damaged(name, error) from None
        raise ScsError(f"{name}: {error}") from None


def _damaged(name: str, error: Exception) -> RefusedError:
    return RefusedError(
        f"{name}: cannot be decrypted, it is damaged: {error}", "choose another backup: scs backup list"
    )
