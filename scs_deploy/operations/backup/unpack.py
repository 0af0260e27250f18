# SPDX-License-Identifier: Apache-2.0
"""Checks and decrypts the files of a backup, for trial restores and for restores."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable, Sequence

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine.events import Watch
from scs_deploy.operations.backup import crypt
from scs_deploy.operations.backup.manifest import DATABASE, Manifest, Part
from scs_deploy.operations.backup.stream import Meter
from scs_deploy.operations.backup.target import Target


def files_of(links: Sequence[Manifest], backup: Manifest, wanted: Iterable[str]) -> list[tuple[Manifest, Part]]:
    """All files that the selected parts of a backup need, including those of its chain.

    :raises RefusedError: the backup has no such part
    """
    result = []
    for name in wanted:
        for owner in links if name == DATABASE else (backup,):
            part = owner.part(name)
            if part is None:
                raise RefusedError(f"backup {owner.id} has no part '{name}'", "scs backup list")
            result.append((owner, part))
    return result


def check_file(target: Target, owner: Manifest, part: Part, watch: Watch) -> None:
    """Compare a file's size and checksum with the manifest.

    :raises RefusedError: the file is missing or damaged
    """
    name = f"{owner.id}/{part.file}"
    meter = Meter(watch, f"checking {name}")
    digest, size = hashlib.sha256(), 0
    with target.reading(owner.id, part.file) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
            meter(size)
    if size != part.size or digest.hexdigest() != part.sha256:
        what = f"has {size} bytes instead of {part.size}" if size != part.size else "its checksum differs"
        raise RefusedError(f"{target.where}/{name}: is damaged: {what}", "choose another backup: scs backup list")


class _KeyFitsError(Exception):
    pass


class _First:
    """Accepts the first piece of plain text, which proves that the key fits."""

    def write(self, _data: bytes, /) -> int:
        raise _KeyFitsError

    def flush(self) -> None:
        """Does nothing: there is no buffer."""


def check_key(target: Target, owner: Manifest, part: Part, secret: str) -> None:
    """Check that the secret key decrypts a file.

    :raises RefusedError: wrong key, or the file is damaged
    """
    if not part.encrypted:
        return
    with target.reading(owner.id, part.file) as stream:
        # the header and the first chunk of 64 KiB
        head = io.BytesIO(stream.read(96 << 10))
    try:
        crypt.decrypt(head, _First(), secret, f"{owner.id}/{part.file}")
    except _KeyFitsError:
        return


def plain(target: Target, owner: Manifest, part: Part, secret: str, to: crypt.Writes) -> None:
    """Write a part's compressed plain text to a stream.

    :raises RefusedError: wrong key, or the file is damaged
    """
    with target.reading(owner.id, part.file) as stream:
        if part.encrypted:
            crypt.decrypt(stream, to, secret, f"{owner.id}/{part.file}")
        else:
            while chunk := stream.read(1 << 18):
                to.write(chunk)


def content(target: Target, owner: Manifest, part: Part, secret: str) -> bytes:
    """A small part's content.

    :raises ScsError: the content is not compressed data
    """
    buffer = io.BytesIO()
    plain(target, owner, part, secret, buffer)
    try:
        return gzip.decompress(buffer.getvalue())
    except (OSError, EOFError) as error:
        raise ScsError(f"{owner.id}/{part.file}: is damaged: {error}", "scs backup list") from None
