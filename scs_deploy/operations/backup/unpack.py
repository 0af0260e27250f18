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
from scs_deploy.operations.backup.manifest import DATABASE, PIECE, Manifest, Part
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


class _Checked:
    """Reads a file of a backup and gives out nothing that the manifest does not vouch for.

    The target may answer differently each time that it is asked, so an earlier check is not enough. A backup without
    signature has no checksums of pieces; its file is checked at the end.
    """

    def __init__(self, source: crypt.Reads, part: Part, name: str) -> None:
        self._source, self._part, self._name = source, part, name
        self._ready, self._pieces, self._whole, self._size = io.BytesIO(), 0, hashlib.sha256(), 0
        self.error: RefusedError | None = None

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end.

        :raises RefusedError: the file is not the one that was backed up
        """
        if not (data := self._ready.read(size)) and size:
            self._ready = io.BytesIO(self._next())
            data = self._ready.read(size)
        return data

    def _next(self) -> bytes:
        found = bytearray()
        while len(found) < PIECE and (data := self._source.read(min(PIECE - len(found), 1 << 20))):
            found += data
        self._size += len(found)
        if self._part.pieces:
            known = self._part.pieces[self._pieces : self._pieces + 1]
            fits = known == ((hashlib.sha256(found).hexdigest(),) if found else ())
        else:
            self._whole.update(found)
            fits = bool(found) or self._whole.hexdigest() == self._part.sha256
        if not fits or (not found and self._size != self._part.size):
            self.error = RefusedError(
                f"{self._name}: is not the file that was backed up: its checksum differs",
                "choose another backup: scs backup list",
            )
            raise self.error
        self._pieces += 1
        return bytes(found)


def plain(target: Target, owner: Manifest, part: Part, secret: str, to: crypt.Writes) -> None:
    """Write a part's compressed plain text to a stream.

    :raises RefusedError: wrong key, or the file is damaged
    """
    name = f"{owner.id}/{part.file}"
    with target.reading(owner.id, part.file) as stream:
        checked = _Checked(stream, part, name)
        try:
            if part.encrypted:
                crypt.decrypt(checked, to, secret, name)
            while rest := checked.read(1 << 18):
                if not part.encrypted:
                    to.write(rest)
        except BaseException:
            # the library that decrypts has only its own words for an exception of its source
            if checked.error:
                raise checked.error from None
            raise


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
