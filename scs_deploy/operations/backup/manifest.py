# SPDX-License-Identifier: Apache-2.0
"""The manifest of a backup: `manifest.json`, written last. A folder without it is an interrupted backup."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.secrets import signing

FORMAT = 2
"""Incremented if older versions of scs could misread a manifest. 1: it has no signature."""

NAME = "manifest.json"

KEYS = "keys.vault"
"""File beside the manifest: the keys that open and authenticate the backup, encrypted with the vault password."""

PIECE = 32 << 20
"""Bytes of a file that have a checksum of their own, so that each is checked before it is used."""

NOT_OURS = "somebody changed it, or its key is in an earlier secrets.yml only"

DATABASE, ENVIRONMENT = "mariadb", "environment"
"""Parts that no service's command writes."""


class Kind(StrEnum):
    """The kind of a database backup."""

    FULL = "full"
    INCREMENTAL = "incremental"


class Part(Model):
    """One file of a backup."""

    name: str = Field(description="mariadb, environment, or <service>.<what>")
    file: str = Field(pattern=r"^[a-z0-9_.-]+$")
    host: str = ""
    image: str = Field(
        default="",
        description="of the container that wrote it: repository@digest, behind the registry unless it is the region's",
    )
    size: int = Field(ge=0, description="bytes of the file")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file")
    pieces: tuple[str, ...] = Field(default=(), description="SHA-256 of each 32 MiB of the file")
    encrypted: bool = Field(description="with age; false in a backup without signature: `environment`, partly")


class Rows(Model):
    """The row counts of a table before and after the copy."""

    before: int
    after: int
    touched: bool = Field(description="written to during the copy, so its count in the copy may differ")

    def fits(self, count: int) -> bool:
        """Whether a restored table may have this number of rows."""
        return self.touched or count == self.before


class Database(Model):
    """The copy of the database."""

    kind: Kind
    base: str = Field(default="", description="id of the backup that it is based on")
    base_signature: str = Field(default="", description="signature of that backup's manifest")
    host: str = Field(description="the member that was copied")
    version: str = Field(description="of the server, e.g. 11.8.6-MariaDB")
    directory: str = Field(description="identity of the data directory that the log sequence numbers belong to")
    directory_size: int = Field(ge=0, description="bytes of the data directory")
    from_lsn: int
    to_lsn: int = Field(description="InnoDB's checkpoint, from which an incremental backup continues")
    position: str = Field(description="Galera position, <uuid>:<seqno>")
    tables: dict[str, Rows] = Field(description="by schema.table")


class Manifest(Model):
    """A complete backup."""

    format: int = FORMAT
    id: str
    region: str
    environment: str
    started: datetime
    seconds: float
    release: str
    images: dict[str, str] = Field(description="image name: digest, from the release lock")
    recipients: tuple[str, ...] = Field(description="public age keys; the identity of any of them decrypts the backup")
    parts: tuple[Part, ...]
    database: Database | None = None
    signature: str = Field(default="", description="HMAC-SHA256 of all other fields; empty: an earlier scs made it")

    @property
    def size(self) -> int:
        """Total size of its files in bytes."""
        return sum(p.size for p in self.parts)

    def part(self, name: str) -> Part | None:
        """A part by name; None if the backup has no such part."""
        return next((p for p in self.parts if p.name == name), None)


ID = re.compile(r"\d{8}T\d{6}Z")


def new_id(now: datetime) -> str:
    """An id such as `20260131T023000Z`, which sorts by time and needs no quoting."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def time_of(backup: str) -> datetime:
    """The start time of the backup with this id."""
    return datetime.strptime(backup, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def signed(manifest: Manifest, key: str) -> Manifest:
    """The manifest with its signature."""
    return manifest.model_copy(update={"signature": signing.sign(key, _content(manifest.model_dump(mode="json")))})


def _content(data: Mapping[str, Any]) -> bytes:
    """What is signed: all fields of the file, also those that this version does not know."""
    fields = {k: v for k, v in data.items() if k != "signature"}
    return b"scs backup\0" + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def dump(manifest: Manifest) -> str:
    """The content of the file."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def parse(text: str, where: str, keys: Sequence[str] | None) -> Manifest:
    """Read a manifest, and check its signature if it has one.

    :param where: name of the file in errors
    :param keys: that the region signs with; None: do not check
    :raises RefusedError: not a manifest, written by a later version of scs, or signed by somebody else
    """
    try:
        data: Any = json.loads(text)
    except ValueError:
        raise RefusedError(f"{where}: the manifest is damaged: not JSON", "scs backup list") from None
    found = data.get("format") if isinstance(data, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise RefusedError(
            f"{where}: written by a later version of scs (format {found}, this version reads {FORMAT})", "update scs"
        )
    try:
        made = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise RefusedError(f"{where}: the manifest is damaged: {key}: {first['msg']}", "scs backup list") from None
    if made.signature and keys is not None and not signing.fits(keys, _content(data), made.signature):
        raise RefusedError(f"{where}: not authenticated: no {signing.SECRET} of this region signed it", NOT_OURS)
    return made
