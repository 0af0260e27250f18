# SPDX-License-Identifier: Apache-2.0
"""This host's image files: which ones Glance's database requires, which ones exist, receiving and deleting them."""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

import database

RESERVE = 256 << 20  # bytes
CHUNK = 1 << 20
BATCH = 500

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# A deactivated image is kept for its administrator.
_COMPLETE = """
    SELECT i.id, i.size, i.os_hash_algo, i.os_hash_value, i.checksum, l.value
    FROM images i JOIN image_locations l ON l.image_id = i.id
    WHERE i.deleted = 0 AND l.deleted = 0 AND i.status IN ('active', 'deactivated')
"""


# Of an image that `scs storage migrate-images` moved: Glance removed the location of its file, and has it elsewhere.
# One that is being copied to a file again, whether or not it was there before, has no location of it yet.
_MOVED = """
    SELECT i.id FROM images i
    WHERE i.deleted = 0 AND i.status IN ('active', 'deactivated')
    AND EXISTS (SELECT 1 FROM image_locations l WHERE l.image_id = i.id AND l.deleted = 1 AND l.value LIKE 'file://%%')
    AND EXISTS (SELECT 1 FROM image_locations l WHERE l.image_id = i.id AND l.deleted = 0
                AND l.value NOT LIKE 'file://%%')
    AND NOT EXISTS (SELECT 1 FROM image_locations l WHERE l.image_id = i.id AND l.deleted = 0
                    AND l.value LIKE 'file://%%')
    AND NOT EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = i.id AND p.deleted = 0
                    AND p.name = 'os_glance_importing_to_stores' AND p.value <> '')
    AND i.id IN ({marks})
"""
MOVED = "moved"  # as a status


class BadFileError(Exception):
    """The data from another host does not match the image."""


class LocalError(Exception):
    """This host cannot store the file."""


@dataclass(frozen=True)
class Image:
    """An image whose data is complete on some host."""

    id: str
    size: int | None  # bytes
    algorithm: str | None  # of Glance's multihash
    value: str | None
    checksum: str | None  # MD5, the only checksum of old images


# ---- decisions


def is_id(text: str) -> bool:
    """Whether a text is an image's id, and therefore a safe file name."""
    return _ID.fullmatch(text) is not None


def missing(images: Iterable[Image], here: Mapping[str, int]) -> list[Image]:
    """The images without a complete file, smallest first.

    :param here: id -> bytes of this host's files, read after the images, so that files of uploads are complete
    """
    lacking = [i for i in images if i.id not in here or (i.size is not None and here[i.id] != i.size)]
    return sorted(lacking, key=lambda i: (i.size or 0, i.id))


def removable(
    here: Iterable[str], statuses: Mapping[str, str], since: Mapping[str, float], now: float, grace: float
) -> list[str]:
    """The files to delete: those of images that have been deleted, or moved to another store, for a while. Files that
    are unknown to the database are kept, because it may have been restored to a state before the image was created.

    :param statuses: of the images in the database
    :param since: when each was first seen deleted or moved
    """
    return [i for i in here if obsolete(statuses.get(i)) and now - since.get(i, now) >= grace]


def obsolete(status: str | None) -> bool:
    """Whether an image needs no file any more."""
    return status in ("deleted", MOVED)


@dataclass(frozen=True)
class Standing:
    """How well a host can serve images."""

    alive: bool  # Glance's API answers
    missing: int | None  # number of files; None: unknown


def refusal(own: Standing, others: Mapping[str, Standing]) -> str:
    """The reason why HAProxy must not send requests here; empty if it may.

    A host refuses only in favour of one that lacks fewer files. So the most complete host serves, and if no host has a
    file, the other images remain available.

    :param others: of the hosts that answer
    """
    if not own.alive:
        return "Glance does not answer"

    def lacks(standing: Standing) -> float:
        return float("inf") if standing.missing is None else standing.missing

    better = [name for name, other in others.items() if other.alive and lacks(other) < lacks(own)]
    if not better:
        return ""
    what = "which files are missing is not known yet" if own.missing is None else f"{own.missing} files are missing"
    return f"{what}, more are on {', '.join(better)}"


# ---- database and files


@dataclass(frozen=True)
class Store:
    """The folders of image files, and the database that lists them."""

    config: str = "/etc/glance/glance-api.conf"
    images: Path = Path("/var/lib/glance/images")
    incoming: Path = Path("/var/lib/glance/replica")  # on the images' file system: a finished file is renamed
    reserve: int = RESERVE  # bytes to keep free

    def complete_images(self) -> dict[str, Image]:
        """All images whose data is in this kind of store, by id.

        :raises pymysql.MySQLError: no answer
        """
        images = {}
        for image, size, algorithm, value, checksum, location in database.rows(self.config, _COMPLETE):
            if location == f"file://{self.images}/{image}" and is_id(image):
                images[image] = Image(image, size, algorithm, value, checksum)
        return images

    def statuses(self, ids: list[str]) -> dict[str, str]:
        """The statuses of those of these images that the database knows; `moved` if it has the data elsewhere only.

        :raises pymysql.MySQLError: no answer
        """
        statuses: dict[str, str] = {}
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            marks = ", ".join(["%s"] * len(batch))
            query = f"SELECT id, status FROM images WHERE id IN ({marks})"
            statuses.update(dict(database.rows(self.config, query, tuple(batch))))
            moved = database.rows(self.config, _MOVED.format(marks=marks), tuple(batch))
            statuses.update((image, MOVED) for (image,) in moved)
        return statuses

    def local(self) -> dict[str, int]:
        """id -> bytes of this host's files."""
        return {e.name: e.stat().st_size for e in os.scandir(self.images) if is_id(e.name) and e.is_file()}

    def present(self, image: Image) -> bool:
        """Whether this host has the complete file."""
        try:
            size = (self.images / image.id).stat().st_size
        except FileNotFoundError:
            return False
        return image.size in (None, size)

    def prepare(self) -> None:
        """Create the folders, and remove the remains of interrupted transfers."""
        for folder in (self.images, self.incoming):
            folder.mkdir(parents=True, exist_ok=True)
        for path in self.incoming.iterdir():
            path.unlink()

    def receive(self, image: Image, response: HTTPResponse, progress: Callable[[int], None]) -> None:
        """Receive a file from another host, and rename it once its content is verified.

        :raises BadFileError: it does not match the image
        :raises LocalError: no space, or another failure of this host's disk
        :raises OSError: the connection broke
        """
        if image.size is not None and response.length != image.size:
            raise BadFileError(f"{response.length} bytes instead of {image.size}")
        part = self.incoming / f"{image.id}.part"
        try:
            self._space(response.length or 0)
            with _LocalErrors():
                stream = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb")
            with stream:
                _copy(image, response, stream, progress)
                with _LocalErrors():
                    stream.flush()
                    os.fsync(stream.fileno())
            with _LocalErrors():
                part.replace(self.images / image.id)
                sync(self.images)
        finally:
            part.unlink(missing_ok=True)

    def _space(self, size: int) -> None:
        disk = os.statvfs(self.incoming)
        if disk.f_bavail * disk.f_frsize < size + self.reserve:
            raise LocalError(f"no space for {size} bytes: {os.strerror(errno.ENOSPC)}")

    def remove(self, image: str) -> None:
        """Delete a file. It may be missing, because Glance deletes it on the host that gets the request."""
        (self.images / image).unlink(missing_ok=True)


def _copy(image: Image, response: HTTPResponse, stream: BinaryIO, progress: Callable[[int], None]) -> None:
    algorithm, wanted = (image.algorithm, image.value) if image.algorithm and image.value else ("md5", image.checksum)
    digest, done = hashlib.new(algorithm, usedforsecurity=False), 0
    while block := response.read(CHUNK):
        digest.update(block)
        with _LocalErrors():
            stream.write(block)
        done += len(block)
        progress(done)
    if image.size is not None and done != image.size:
        raise BadFileError(f"it ended after {done} of {image.size} bytes")
    if wanted and digest.hexdigest() != wanted:
        raise BadFileError(f"its {algorithm} is {digest.hexdigest()[:16]}..., not {wanted[:16]}...")


class _LocalErrors:
    """Distinguishes errors of this host from a broken connection, which is an OSError too."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise LocalError(str(error)) from None


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
