# SPDX-License-Identifier: Apache-2.0
"""The key with which the manager signs backups, and recognizes its own.

The secret holds the key that signs and, after it, the ones that it replaced: what they signed stays valid.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import store, vault

SECRET = "backup_signing_key"  # noqa: S105 - a secret's name
"""Name in secrets.yml; the value is `newest older oldest`."""

KEPT = 5
"""How many keys a rotation leaves, the new one included."""


def keys(values: Mapping[str, str]) -> tuple[str, ...]:
    """The keys among a region's secrets: first the one that signs. Empty: there is none yet."""
    return tuple(values.get(SECRET, "").split())


def ensure(environment: Environment) -> tuple[str, ...]:
    """The region's keys; generates one if there is none.

    :raises RefusedError: no vault password, or secrets.yml cannot be read
    """
    store.ensure(environment, [SECRET])
    return keys(store.load(environment))


def rotate(environment: Environment) -> str:
    """Sign with a new key from now on; returns what was done.

    :raises RefusedError: there is no key yet, or secrets.yml cannot be read
    """
    with vault.locked(environment):
        values = store.load(environment)
        if not (before := keys(values)):
            raise RefusedError(f"{environment.secrets_file}: missing secret: {SECRET}", "scs secrets init")
        kept = (vault.random_password(), *before)[:KEPT]
        vault.save(environment, environment.secrets_file, store.dump({**values, SECRET: " ".join(kept)}))
    return f"new backups are signed with a new key; those of {len(kept) - 1} earlier ones stay valid"


def sign(key: str, content: bytes) -> str:
    """HMAC-SHA256, in hexadecimal."""
    return hmac.new(key.encode(), content, "sha256").hexdigest()


def fits(available: Iterable[str], content: bytes, signature: str) -> bool:
    """Whether one of the keys signed this content."""
    return any(hmac.compare_digest(sign(key, content).encode(), signature.encode()) for key in available)
