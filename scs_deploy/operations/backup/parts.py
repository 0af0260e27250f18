# SPDX-License-Identifier: Apache-2.0
"""The parts of a backup: the database, parts that service specs declare, and the region's description."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT
from scs_deploy.secrets import vault
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.service import Saved


def declared(catalog: Catalog) -> dict[str, Saved]:
    """The parts `<service>.<what>` of all service specs, in catalog order."""
    return {f"{s.name}.{what}": saved for s in catalog.services.values() for what, saved in s.backup.items()}


def names(catalog: Catalog) -> list[str]:
    """The names of all parts that a backup can have."""
    database = [DATABASE] if DATABASE in catalog.services else []
    return [*database, *declared(catalog), ENVIRONMENT]


def chosen(catalog: Catalog, only: Collection[str], every: Collection[str]) -> list[str]:
    """The parts selected with `--only` by name or service; all of `every` if `only` is empty.

    :raises RefusedError: no such part
    """
    known = [n for n in names(catalog) if n in every]
    known += sorted(n for n in every if n not in known)
    for word in only:
        if not any(word in _names_of(n) for n in known):
            raise RefusedError(f"no part '{word}'", f"there are: {', '.join(known)}")
    return [n for n in known if not only or named(n, only)]


def named(part: str, only: Collection[str]) -> bool:
    """Whether `--only` selects a part by name or service."""
    return bool(_names_of(part) & set(only))


def _names_of(part: str) -> set[str]:
    return {part, part.partition(".")[0]}


def description(environment: Environment) -> Iterator[tuple[str, Path | bytes]]:
    """(name in the archive, file or content) of everything that describes the region.

    Secrets and certificates are already encrypted with the vault password; the SSH key for the hosts is encrypted here.
    The vault password itself, run records and caches are excluded.
    """
    out = {environment.state.resolve()}
    password = vault.password_file(environment)
    if password is not None:
        out.add(password.resolve())
    out.add(environment.ssh_key.resolve())
    if "://" not in environment.settings.backup.target:
        out.add((environment.path / environment.settings.backup.target).resolve())
    yield from _files(environment.path, "environment", out)
    if not environment.inventory.is_relative_to(environment.path.resolve()):
        yield from _files(environment.inventory, "inventory", out)
    if environment.ssh_key.is_file():
        text = environment.ssh_key.read_text(encoding="utf-8")
        yield "ssh_key.vault", vault.encrypt(text, vault.password(environment)).encode()
    if environment.known_hosts.is_file():
        yield "known_hosts", environment.known_hosts


def _files(folder: Path, name: str, out: Collection[Path]) -> Iterator[tuple[str, Path]]:
    if folder.is_file():
        yield f"{name}/{folder.name}", folder
        return
    for base, folders, files in os.walk(folder):
        here = Path(base)
        folders[:] = sorted(f for f in folders if f != ".git" and (here / f).resolve() not in out)
        for file in sorted(files):
            path = here / file
            if path.resolve() not in out and path.is_file():
                yield f"{name}/{path.relative_to(folder)}", path


def archive(environment: Environment) -> io.BytesIO:
    """The description as tar.gz, created in memory because it is small."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in description(environment):
            if isinstance(content, Path):
                tar.add(content.resolve(), arcname=name, recursive=False)
            else:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o600
                tar.addfile(entry, io.BytesIO(content))
    data.seek(0)
    return data
