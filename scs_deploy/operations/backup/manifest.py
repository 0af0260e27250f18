# SPDX-License-Identifier: Apache-2.0
"""The manifest of a backup: `manifest.json`, written last. A folder without it is an interrupted backup."""

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
"""Incremented if older versions of scs could misread a manifest."""

NAME = "manifest.json"

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
    image: str = Field(default="", description="of the container that wrote it: registry/repository@digest")
    size: int = Field(ge=0, description="bytes of the file")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file")
    encrypted: bool = Field(description="with age; `environment` uses the vault password instead")


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


def dump(manifest: Manifest) -> str:
    """The content of the file."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def parse(text: str, where: str) -> Manifest:
    """Read a manifest.

    :param where: name of the file in errors
    :raises RefusedError: not a manifest, or written by a later version of scs
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
