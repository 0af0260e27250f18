# SPDX-License-Identifier: Apache-2.0
"""Keeps Keystone tokens of the OpenStack client in a file of mode 0600, so that not every command logs in again.

openstacksdk caches authentication in the "keyring" that the variable PYTHON_KEYRING_BACKEND names, which for `scs
openstack` is this class: a manager has no desktop to keep secrets in. It runs in the client's process and imports
nothing else of scs. A token that Keystone no longer accepts is replaced by openstacksdk without a word.
https://keyring.readthedocs.io/en/stable/#write-your-own-keyring-backend
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

FILE = "SCS_TOKENS_FILE"
"""The variable with the file's path."""


class TokenFile(KeyringBackend):
    """A keyring in the file that SCS_TOKENS_FILE names. A file that cannot be read or written keeps nothing."""

    priority = 0.1

    def get_password(self, service: str, username: str) -> str | None:
        """See KeyringBackend."""
        return self._read().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        """See KeyringBackend."""
        key = f"{service} {username}"
        if self._read().get(key) != password:
            with suppress(OSError), self._changing() as tokens:
                tokens[key] = password

    def delete_password(self, service: str, username: str) -> None:
        """See KeyringBackend."""
        if f"{service} {username}" not in self._read():
            raise PasswordDeleteError(username)
        with suppress(OSError), self._changing() as tokens:
            tokens.pop(f"{service} {username}", None)

    @property
    def _file(self) -> Path:
        return Path(os.environ.get(FILE, os.devnull))

    def _read(self) -> dict[str, str]:
        try:
            read = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        file = self._file
        if file == Path(os.devnull):
            raise FileNotFoundError(FILE)
        # clients side by side: neither loses what the other one keeps
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            tokens = self._read()
            yield tokens
            handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(tokens, out)
            Path(temporary).replace(file)
        finally:
            os.close(directory)
