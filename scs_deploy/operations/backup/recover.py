# SPDX-License-Identifier: Apache-2.0
"""Gets a region's description, or another part, without its manager: a backup and the vault password are enough."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.reading import read_text
from scs_deploy.engine.events import ignore
from scs_deploy.operations.backup import crypt, manifest, restore_run, unpack
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT, Manifest
from scs_deploy.operations.backup.target import Folder
from scs_deploy.secrets import signing, store, vault


def recover(folder: Path, password: bytes, into: Path, only: Sequence[str] = ()) -> Manifest:
    """Extract parts of a backup, with the keys that the backup itself has: by default `environment`, as a folder.

    Any other part is a file of its name, as its service wrote it. Only who knows the vault password can have written
    those keys, and only with them the manifest can be signed.

    :param folder: the backup, named by its id
    :param into: the folder to create
    :param only: names of parts
    :raises RefusedError: the folder exists, the password is wrong, there is no such part that can be extracted, or the
        backup is not authentic or not complete
    """
    folder = folder.resolve()
    if into.exists():
        raise RefusedError(f"{into}: exists already", "--into another folder")
    sealed = folder / manifest.KEYS
    values = store.parse(vault.decrypt(read_text(sealed), password, str(sealed)), sealed)
    file = folder / manifest.NAME
    found = manifest.parse(read_text(file), str(file), signing.keys(values))
    if not found.signature:
        raise RefusedError(f"{file}: not authenticated: it has no signature", "choose another backup")
    if found.id != folder.name:
        raise RefusedError(f"{folder}: its manifest belongs to {found.id}", f"name the folder as it was: {found.id}")
    if DATABASE in only:
        raise RefusedError(f"{DATABASE} is a chain of copies", "scs backup restore; or mariadb-backup by hand")
    target, secret = Folder(folder.parent), values.get(crypt.SECRET, "")
    files = unpack.files_of((), found, only or (ENVIRONMENT,))
    for owner, part in files:
        unpack.check_file(target, owner, part, ignore)
        unpack.check_key(target, owner, part, secret)
    into.mkdir(mode=0o700, parents=True)
    for owner, part in files:
        if part.name == ENVIRONMENT:
            data = io.BytesIO()
            unpack.plain(target, owner, part, secret, data)
            restore_run.extract(into, data.getvalue())
        else:
            (into / part.name).touch(mode=0o600)
            (into / part.name).write_bytes(unpack.content(target, owner, part, secret))
    return found
