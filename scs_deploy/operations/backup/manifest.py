# SPDX-License-Identifier: Apache-2.0
"""What a backup says of itself: `manifest.json`, written last. A folder without it is an interrupted backup."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model

FORMAT = 1
"""Grows when an older scs could misread a manifest."""

NAME = "manifest.json"

DATABASE, ENVIRONMENT = "mariadb", "environment"
"""Parts that are no service's own command."""


class Kind(StrEnum):
    """What a backup of the database holds."""

    FULL = "full"
    INCREMENTAL = "incremental"


class Part(Model):
    """One file of a backup."""

    name: str = Field(description="mariadb, environment, or <service>.<what>")
    file: str = Field(pattern=r"^[a-z0-9_.-]+$")
    host: str = ""
    image: str = Field(default="", description="of the container that wrote it: registry/repository@digest")
    size: int = Field(ge=0, description="bytes of the file")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file")
    encrypted: bool = Field(description="with age; the environment's own secrets are under the vault password instead")


class Rows(Model):
    """A table's rows, counted before and after the copy."""

    before: int
    after: int
    touched: bool = Field(description="something wrote to it meanwhile: its count in the copy may be another one")

    def fits(self, count: int) -> bool:
        """Whether a restored table may have so many rows."""
        return self.touched or count == self.before


class Database(Model):
    """The copy of the database."""

    kind: Kind
    base: str = Field(default="", description="id of the backup that it continues")
    host: str = Field(description="the member that was copied")
    version: str = Field(description="of the server, e.g. 11.8.6-MariaDB")
    directory: str = Field(description="identity of the data directory: log sequence numbers of another say nothing")
    directory_size: int = Field(ge=0, description="bytes of the data directory")
    from_lsn: int
    to_lsn: int = Field(description="InnoDB's checkpoint, where an incremental backup goes on")
    position: str = Field(description="Galera's, <uuid>:<seqno>")
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
    images: dict[str, str] = Field(description="image name: digest, of the region's lock")
    recipients: tuple[str, ...] = Field(description="public age keys; each one's identity opens it")
    parts: tuple[Part, ...]
    database: Database | None = None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(p.size for p in self.parts)

    def part(self, name: str) -> Part | None:
        """One of its parts; None: it has no such part."""
        return next((p for p in self.parts if p.name == name), None)


ID = re.compile(r"\d{8}T\d{6}Z")


def new_id(now: datetime) -> str:
    """`20260131T023000Z`: sorts by time, and needs no quoting anywhere."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def time_of(backup: str) -> datetime:
    """When the backup of this id was begun."""
    return datetime.strptime(backup, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def dump(manifest: Manifest) -> str:
    """The file's content."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def parse(text: str, where: str) -> Manifest:
    """Read a manifest.

    :param where: what an error calls the file
    :raises RefusedError: not a manifest, or one that a later scs wrote
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
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise RefusedError(f"{where}: the manifest is damaged: {key}: {first['msg']}", "scs backup list") from None
