# SPDX-License-Identifier: Apache-2.0
"""Makes a backup: removes interrupted ones, writes each part and finally the manifest, and removes expired ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.desired import resolve
from scs_deploy.engine.events import Stage, TaskDone, Watch, ignore
from scs_deploy.operations.backup import chain, crypt, manifest, parts, proofs, source, stream
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT, Database, Kind, Manifest, Part
from scs_deploy.operations.backup.stream import Meter, mebibytes
from scs_deploy.operations.backup.target import Target, open_target
from scs_deploy.operations.base import Operation, Session, Step, session_of
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Saved
from scs_deploy.state.lock import RunLock


def lock_of(region: Region) -> RunLock:
    """Held while writing to the target: a backup may run during an apply, but not during another backup."""
    state = region.environment.state
    state.mkdir(mode=0o700, exist_ok=True)
    return RunLock(state / "backup.lock")


class Damaged(Model):
    """Why a folder of the target is not a backup."""

    why: str
    interrupted: bool = False
    """it has no manifest, which is written last; the next backup removes it"""

    def __str__(self) -> str:
        return self.why


def load(target: Target) -> tuple[dict[str, Manifest], dict[str, Damaged]]:
    """Complete backups, and why the others are damaged, by id.

    :raises RefusedError: the target cannot be reached
    """
    good: dict[str, Manifest] = {}
    bad: dict[str, Damaged] = {}
    for backup, text in target.read_all().items():
        if text is None:
            bad[backup] = Damaged(why="interrupted: it has no manifest", interrupted=True)
            continue
        try:
            found = manifest.parse(text, f"{target.where}/{backup}/{manifest.NAME}")
        except RefusedError as error:
            bad[backup] = Damaged(why=error.message)
            continue
        if found.id == backup:
            good[backup] = found
        else:
            bad[backup] = Damaged(why=f"its manifest belongs to {found.id}")
    return good, bad


class BackupRequest(Model):
    """What to back up."""

    full: bool = False
    """do not base the database backup on an earlier one"""
    only: tuple[str, ...] = ()
    """names of parts or services; empty for all"""


@dataclass(frozen=True)
class Created:
    """A completed backup."""

    backup: Manifest
    removed: tuple[str, ...] = ()
    """ids of removed backups that had expired"""


class CreateBackup(Operation[BackupRequest, tuple[str, ...], Created]):
    """Makes a backup, and removes expired ones. A plan consists of the names of its parts."""

    name = "backup create"
    requests = BackupRequest
    repeat = "repeat the command: it removes the interrupted backup and makes a new one"
    changing = False

    def plan(self, watch: Watch = ignore) -> tuple[str, ...]:  # noqa: ARG002 - no host is asked
        """See Operation.

        :raises RefusedError: no such part, or an invalid recipient
        """
        environment = self.region.environment
        wanted = parts.chosen(self.region.catalog, self.request.only, parts.names(self.region.catalog))
        crypt.check_recipients(environment.settings.backup.recipients, str(environment.file))
        return tuple(wanted)

    def total(self, plan: tuple[str, ...]) -> int:
        """See Operation."""
        return len(plan)

    def empty_result(self, plan: tuple[str, ...]) -> Created:
        """See Operation.

        :raises RefusedError: the backup was not made
        """
        raise RefusedError(f"the backup of {', '.join(plan) or 'nothing'} was not made", "scs backup create")

    def session(self, watch: Watch = ignore) -> AbstractContextManager[Session]:
        """A backup may run during an apply, but not during another backup."""
        return session_of(self.region.environment, watch, lock=lock_of(self.region))

    @cached_property
    def target(self) -> Target:
        """The target of the backups."""
        return open_target(self.region.environment)

    @cached_property
    def identity(self) -> tuple[str, bool]:
        """The key that decrypts the backup, and whether it is new."""
        return crypt.ensure_identity(self.region.environment)

    def secrets(self) -> Iterable[str]:
        """See Operation."""
        return [*self.region.secrets.values(), self.identity[0]]

    def check(self, plan: tuple[str, ...]) -> None:  # noqa: ARG002 - the same for every plan
        """See Operation.

        :raises RefusedError: the target cannot be used
        """
        self.target.prepare()

    def carry_out(self, session: Session, plan: tuple[str, ...]) -> Created:
        """See Operation.

        :raises RefusedError: no member of the database can be copied
        :raises ScsError: a part could not be written; the incomplete backup is removed
        """
        secret, made = self.identity
        if made:
            file = self.region.environment.secrets_file
            session.emit(TaskDone(f"generated key {crypt.SECRET} in {file}: keep a copy of that file elsewhere"))
        known, bad = load(self.target)
        for backup in (b for b, damaged in bad.items() if damaged.interrupted):
            self.target.remove(backup)
            session.emit(TaskDone(f"removed the interrupted backup {backup}"))
        job = _Job(self.region, self.target, session, _new_id(known, bad), secret, known, self.request.full)
        done = job.run(plan)
        session.check()
        old = _forget(self.region, self.target, {**known, done.id: done}, session.emit)
        return Created(done, old)


def _new_id(*taken: object) -> str:
    while (backup := manifest.new_id(datetime.now(UTC))) in {k for t in taken if isinstance(t, dict) for k in t}:
        time.sleep(0.2)
    return backup


def _forget(region: Region, target: Target, known: dict[str, Manifest], watch: Watch) -> tuple[str, ...]:
    settings = region.environment.settings.backup
    old = chain.expired(list(known.values()), settings.daily, settings.weekly, proofs.read(region.environment).keys())
    # newest first, so that no chain loses its beginning before its end
    for backup in reversed(old):
        target.remove(backup)
        watch(TaskDone(f"removed the expired backup {backup}"))
    return old


class _Job:
    """A backup in progress."""

    def __init__(
        self, region: Region, target: Target, session: Session, backup: str, secret: str, known: dict[str, Manifest],
        full: bool,
    ) -> None:  # fmt: skip
        self.region, self.target, self.session, self.id, self.full = region, target, session, backup, full
        self.known = known
        self.recipients = (crypt.public(secret, "secrets.yml"), *region.environment.settings.backup.recipients)
        self.database: Database | None = None

    def run(self, wanted: Sequence[str]) -> Manifest:
        """Write all parts, then the manifest."""
        begin, started = time.monotonic(), datetime.now(UTC)
        declared = parts.declared(self.region.catalog)
        try:
            written = [self._part(name, declared.get(name)) for name in wanted]
            found = Manifest(
                id=self.id,
                region=self.region.environment.settings.region,
                environment=self.region.environment.name,
                started=started,
                seconds=round(time.monotonic() - begin, 1),
                release=self.region.release.name,
                images={name: image.digest for name, image in self.region.lock.images.items()},
                recipients=self.recipients,
                parts=tuple(written),
                database=self.database,
            )
            self.target.commit(self.id, manifest.dump(found))
        except BaseException:
            self._clean()
            raise
        return found

    def _clean(self) -> None:
        try:
            if self.id in self.target.read_all():
                self.target.remove(self.id)
        except (ScsError, OSError) as error:
            self.session.emit(
                TaskDone(f"the next backup will remove the incomplete {self.id}, which could not be removed: {error}")
            )

    def _part(self, name: str, saved: Saved | None) -> Part:
        made: list[Part] = []

        def do() -> str:
            if name == DATABASE:
                found = self._copy_database()
            elif name == ENVIRONMENT:
                found = self._keep(name, "environment.tar.gz", parts.archive(self.region.environment), (), "", "")
            else:
                assert saved
                found = self._save(name, saved)
            made.append(found)
            return f"{f'from {found.host}, ' if found.host else ''}{mebibytes(found.size)}"

        self.session.run_step("backup", Step(name, f"back up {name}", do))
        return made[0]

    def _save(self, name: str, saved: Saved) -> Part:
        """Run a service's save command on the first host where it succeeds."""
        service = name.partition(".")[0]
        hosts = self.region.hosts_of(service, saved.container)
        errors = []
        for attempt, host in enumerate(hosts):
            self.session.emit(Stage(f"{name} from {host.name}"))
            image = resolve.resolve(self.region, host.name, {service}).containers[saved.container].image
            file = f"{name}.age" if attempt == 0 else f"{name}.{attempt}.age"
            argv = ["bash", "-c", 'set -o pipefail; "$@" | gzip -1', "save", *saved.save]
            try:
                with stream.Remote(self.region, host.name, stream.guarded(saved.container, argv)) as process:
                    return self._keep(name, file, process.output, self.recipients, host.name, image)
            except ScsError as error:
                errors.append(str(error))
        raise ScsError(f"{name}: could not be read from any host: {'; '.join(errors)}")

    def _copy_database(self) -> Part:
        self.session.emit(Stage("selecting a database member to copy"))
        states, writer = source.members(self.region)
        last = max((m for m in self.known.values() if m.database), key=lambda m: m.id, default=None)
        host = source.pick(states, writer, last.database.host if last and last.database else "")
        about = source.identify(self.region, host)
        every = 0 if self.full else self.region.environment.settings.backup.full_every_days
        choice = chain.next_base(self.known.values(), about, manifest.time_of(self.id), every)
        base = self.known[choice.base].database if choice.base else None
        kind = Kind.INCREMENTAL if base else Kind.FULL
        self.session.emit(
            TaskDone(f"{kind} copy of the database on {host}: {'requested' if self.full else choice.why}")
        )
        self.session.emit(Stage(f"counting rows on {host}"))
        since, before = source.clock(self.region, host), source.count(self.region, host)
        log = physical.Log()
        image = resolve.resolve(self.region, host, {DATABASE}).containers[DATABASE].image
        command = source.copy_command(base.to_lsn if base else None)
        with stream.Remote(self.region, host, command, log) as process:
            part = self._keep(DATABASE, "mariadb.xb.gz.age", process.output, self.recipients, host, image)
        log.check(host)
        self.session.emit(Stage(f"counting rows on {host}"))
        after, touched = source.count(self.region, host), source.touched(self.region, host, since)
        self.database = Database(
            kind=kind,
            base=choice.base,
            host=host,
            version=about.version,
            directory=about.directory,
            directory_size=about.directory_size,
            from_lsn=base.to_lsn if base else 0,
            to_lsn=log.to_lsn,
            position=log.position,
            tables=source.rows_of(before, after, touched),
        )
        return part

    def _keep(self, name: str, file: str, reads: crypt.Reads, recipients: Sequence[str], host: str, image: str) -> Part:
        meter = Meter(self.session.emit, f"{name}{f' from {host}' if host else ''}")
        size, digest = stream.keep(self.target, self.id, file, reads, recipients, meter)
        return Part(name=name, file=file, host=host, image=image, size=size, sha256=digest, encrypted=bool(recipients))
