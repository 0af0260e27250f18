#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The projects' keys, which are stored encrypted with a key of barbican.conf. That one is the region's.

  kek.py rewrap    encrypts all of them with the first key of barbican.conf
  kek.py check     exits 0 if a key of barbican.conf decrypts each of them

Prints no key. Exits 1 with one line if one cannot be decrypted, or is not encrypted with the first key after a rewrap:
Barbican's own command prints such an error and exits 0.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

PLUGIN = "barbican.plugin.crypto.simple_crypto.SimpleCryptoPlugin"


def unreadable(stored: Iterable[tuple[str, bytes]], keys: Sequence[str]) -> list[str]:
    """Ids of the stored keys that none of `keys` decrypts."""
    fernet = MultiFernet([Fernet(key) for key in keys])
    return [name for name, token in stored if not decrypts(fernet, token)]


def decrypts(fernet: MultiFernet, token: bytes) -> bool:
    try:
        fernet.decrypt(token)
    except InvalidToken:
        return False
    return True


def configured() -> list[str]:
    """The keys of barbican.conf, the one that encrypts first."""
    from barbican.plugin.crypto import simple_crypto

    return list(simple_crypto.CONF.simple_crypto_plugin.kek)


def stored() -> list[tuple[str, bytes]]:
    """Id and encrypted key of every project, also of those that are no longer in use: secrets may need them."""
    from barbican.model import models, repositories

    repositories.setup_database_engine_and_factory()
    query = repositories.get_session().query(models.KEKDatum).filter_by(plugin_name=PLUGIN)
    # a project's first request makes the row, and then the key
    rows = [(kek.id, kek.plugin_meta) for kek in query if kek.plugin_meta]
    repositories.clear()
    return [(name, meta.encode() if isinstance(meta, str) else bytes(meta)) for name, meta in rows]


def check(keys: Sequence[str], what: str) -> int:
    """The number of stored keys; exits with 1 if one cannot be decrypted."""
    found = stored()
    if failed := unreadable(found, keys):
        sys.exit(f"{len(failed)} of {len(found)} projects' keys {what}, first: {failed[0]}")
    return len(found)


def main(arguments: Sequence[str]) -> None:
    if list(arguments) == ["rewrap"]:
        keys = configured()
        check(keys, "cannot be decrypted with any known key")
        done = subprocess.run(
            ["barbican-manage", "simple_crypto", "rewrap_pkek"],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"barbican-manage simple_crypto rewrap_pkek: {' '.join(done.stdout.split())[-300:]}")
        count = check(keys[:1], "are not encrypted with the new key")
        print(f"{count} projects' keys are encrypted with the new key")
    elif list(arguments) == ["check"]:
        print(f"{check(configured(), 'cannot be decrypted with any known key')} projects' keys can be decrypted")
    else:
        sys.exit((__doc__ or "").strip())


if __name__ == "__main__":
    main(sys.argv[1:])
