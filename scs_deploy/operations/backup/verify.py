# SPDX-License-Identifier: Apache-2.0
"""Verifies a backup by restoring its database into a container on the manager and comparing it with the manifest.

Parts that services can load on trial are, too; the others are read.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.engine.events import Note, Stage, TaskDone, Watch
from scs_deploy.operations import manager_metrics
from scs_deploy.operations.backup import crypt, parts, proofs, scratch, source, unpack
from scs_deploy.operations.backup.manifest import DATABASE, Database, Manifest, Part, Rows
from scs_deploy.operations.backup.stream import Meter, mebibytes
from scs_deploy.operations.backup.target import Target
from scs_deploy.region.region import Region

if TYPE_CHECKING:
    from docker.models.containers import Container

START_SECONDS = 600.0


class Verified(Model):
    """The result of a verification."""

    backup: str
    links: tuple[str, ...] = ()
    """the chain of the database, the full backup first"""
    tables: int = 0
    rows: int = 0
    uncertain: tuple[str, ...] = ()
    """tables written to during the copy, whose row count differs"""
    position: str = ""
    parts: tuple[str, ...]
    proved: dict[str, str] = Field(default_factory=dict)
    """part, except the database: what was found"""
    seconds: float


def compare(database: Database, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Tables whose row count differs because they were written to during the copy.

    :raises ScsError: a table is missing or has the wrong row count
    """
    missing = sorted(set(database.tables) - set(counts))
    if missing:
        raise ScsError(f"missing {counted(len(missing), 'table')}, first: {missing[0]}")
    wrong = [n for n, r in sorted(database.tables.items()) if not r.fits(counts[n])]
    if wrong:
        first = wrong[0]
        raise ScsError(
            f"wrong row count in {counted(len(wrong), 'table')}, first: {first} has {counts[first]}, "
            f"but the region had {database.tables[first].before}"
        )
    return tuple(n for n, r in sorted(database.tables.items()) if counts[n] not in _range(r))


def _range(rows: Rows) -> range:
    return range(min(rows.before, rows.after), max(rows.before, rows.after) + 1)


def verify(
    region: Region,
    target: Target,
    backup: Manifest,
    links: Sequence[Manifest],
    wanted: Sequence[str],
    watch: Watch,
    identity: Path | None = None,
) -> Verified:
    """Read every file of the selected parts, and restore the database on trial.

    :param links: the chain of the database, the full backup first
    :param identity: file with an age secret key to use instead of the vault's
    :raises RefusedError: a file is damaged or encrypted with another key, no image, or not enough disk space
    :raises ScsError: the database does not start, or its tables and rows differ from the manifest
    """
    begin = time.monotonic()
    secret = crypt.identity(region.environment, identity)
    for owner, part in unpack.files_of(links, backup, wanted):
        unpack.check_file(target, owner, part, watch)
        unpack.check_key(target, owner, part, secret)
    watch(TaskDone("checked the checksums and the key"))
    proved: dict[str, str] = {}
    for owner, part in unpack.files_of((), backup, [n for n in wanted if n != DATABASE]):
        content = unpack.content(target, owner, part, secret)
        if not content:
            raise ScsError(f"{owner.id}/{part.file}: is empty")
        proved[part.name] = _proof(region, part, content, watch)
        watch(TaskDone(f"{part.name}: {proved[part.name]}"))
    database = backup.database
    if DATABASE not in wanted or database is None:
        return Verified(
            backup=backup.id, parts=tuple(wanted), proved=proved, seconds=round(time.monotonic() - begin, 1)
        )
    with _scratch(region, backup, links, watch) as container:
        _fill(container, target, links, secret, watch)
        position = _run(
            container, ["sh", "-c", physical.POSITION, "info", physical.DATA], "reading the position"
        ).split()[0]
        if position != database.position:
            raise ScsError(f"the restored database is at position {position}, but the manifest has {database.position}")
        _start(container, watch)
        watch(Stage("checking tables"))
        _check_tables(container)
        counts = _count(container)
        uncertain = compare(database, counts)
        rows = sum(counts[n] for n in database.tables)
    proofs.remember(region.environment, backup.id)
    manager_metrics.push(region, lambda why: watch(Note(why)))
    return Verified(
        backup=backup.id,
        links=tuple(m.id for m in links),
        tables=len(database.tables),
        rows=rows,
        uncertain=uncertain,
        position=position,
        parts=tuple(wanted),
        proved=proved,
        seconds=round(time.monotonic() - begin, 1),
    )


def _proof(region: Region, part: Part, content: bytes, watch: Watch) -> str:
    """Load a part on trial if its service can; says what was found."""
    saved = parts.declared(region.catalog).get(part.name)
    if saved is None or not saved.trial:
        return f"{mebibytes(len(content))} readable"
    watch(Stage(f"restoring {part.name} on trial"))
    return scratch.trial(region, region.catalog.services[part.name.partition(".")[0]], part, saved, content)


def _fill(container: Container, target: Target, links: Sequence[Manifest], secret: str, watch: Watch) -> None:
    for number, owner in enumerate(links):
        part = owner.part(DATABASE)
        assert part
        with scratch.Input(container, physical.extract_argv(physical.DATA, number), "unpacking") as stream:
            unpack.plain(target, owner, part, secret, crypt.Counter(stream, Meter(watch, f"unpacking {owner.id}")))
        watch(TaskDone(f"unpacked {owner.id}"))
    watch(Stage("applying the log"))
    _run(container, physical.prepare_argv(physical.DATA, len(links)), "applying the log")
    watch(TaskDone("applied the log"))


def _start(container: Container, watch: Watch) -> None:
    watch(Stage("starting the server"))
    container.exec_run(["sh", "-c", f'"$@" > {physical.DATA}/server.log 2>&1', "server", *physical.SERVER], detach=True)
    end = time.monotonic() + START_SECONDS
    while docker_engine.execute(container, *physical.CLIENT, "SELECT 1")[0]:
        running = docker_engine.execute(container, "pgrep", physical.PROCESS)[0] == 0
        if time.monotonic() > end or not running:
            last = docker_engine.execute(container, "tail", "-n", "3", f"{physical.DATA}/server.log")[1]
            raise ScsError(f"the restored database does not start: {' '.join(last.split())[-400:]}")
        time.sleep(0.3)
    watch(TaskDone("started the server"))


def _check_tables(container: Container) -> None:
    said = _run(container, list(physical.CHECK), "checking tables").strip()
    if said:
        raise ScsError(f"CHECK TABLE reports problems: {' '.join(said.split())[:400]}")


def _count(container: Container) -> dict[str, int]:
    tables = source.parse_pairs(_run(container, [*physical.CLIENT, source.tables_query()], "listing tables"))
    found: dict[str, int] = {}
    # in batches, because the length of a command is limited
    for at in range(0, len(tables), 200):
        query = source.count_query(tables[at : at + 200])
        found |= source.parse_counts(_run(container, [*physical.CLIENT, query], "counting rows"))
    return found


def _run(container: Container, command: Sequence[str], what: str) -> str:
    code, said = docker_engine.execute(container, *command)
    if code:
        raise ScsError(f"{what} failed: {' '.join(said.split())[-400:]}")
    return said


@contextmanager
def _scratch(region: Region, backup: Manifest, links: Sequence[Manifest], watch: Watch) -> Iterator[Container]:
    """A container without network, which is always removed with its data."""
    part = backup.part(DATABASE)
    assert part
    _room(docker_engine.connect(), links)
    watch(Stage(f"looking for image {part.image}"))
    image = scratch.find_image(region, part.image, DATABASE)
    user = region.users["mysql"]
    tmpfs = {"/run/mysqld": f"uid={user.uid},gid={user.gid},mode=0750"}
    with scratch.container(region, image, "mysql", tmpfs, volumes=[physical.DATA]) as container:
        container.start()
        yield container


def _room(engine: Any, links: Sequence[Manifest]) -> None:
    folder = engine.info().get("DockerRootDir", "/var/lib/docker")
    needed = needs(links)
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise RefusedError(
                f"{folder}: {mebibytes(free)} free, but a trial restore needs about {mebibytes(needed)}",
                "free disk space there",
            )


def needs(links: Sequence[Manifest]) -> int:
    """Most bytes that unpacking and preparing a chain takes: the data directory, and each incremental backup."""
    sizes = [m.database.directory_size for m in links if m.database]
    compressed = sum(p.size for m in links[1:] if (p := m.part(DATABASE)))
    return int(max(sizes, default=0) * 1.1) + 10 * compressed + (64 << 20)
