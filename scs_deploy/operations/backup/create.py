# SPDX-License-Identifier: Apache-2.0
"""Makes a backup: removes interrupted ones, writes each part and finally the manifest, and removes expired ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.desired import resolve
from scs_deploy.engine.events import Stage, TaskDone, Watch, ignore
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup import chain, crypt, manifest, parts, proofs, source, stream
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT, Database, Kind, Manifest, Part
from scs_deploy.operations.backup.stream import Meter, mebibytes
from scs_deploy.operations.backup.target import Target, open_target
from scs_deploy.operations.base import Operation, Session, Step, session_of
from scs_deploy.region.region import Region
from scs_deploy.secrets import signing, vault
from scs_deploy.secrets import store as secrets
from scs_deploy.spec.service import Saved
from scs_deploy.state.lock import RunLock, is_ours, region_lock


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
    unsigned: bool = False
    """it is complete, but has no signature"""
    hint: str = "scs backup list"

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True)
class Stored:
    """The backups of a target, by id."""

    good: dict[str, Manifest] = field(default_factory=dict)
    """complete, and signed by this region"""
    unsigned: dict[str, Manifest] = field(default_factory=dict)
    """complete, but without signature: an earlier scs made them, or somebody else did"""
    bad: dict[str, Damaged] = field(default_factory=dict)

    def trusting(self, until: date | None) -> dict[str, Manifest]:
        """Backups that may be used.

        :param until: day of the last backup without signature that may be used; None: none may
        """
        old = {b: m for b, m in self.unsigned.items() if until is not None and manifest.time_of(b).date() <= until}
        return {**self.good, **old}


def load(environment: Environment, target: Target, keys: Sequence[str] | None) -> Stored:
    """All backups of a region. What a signature covers includes the backup's id and its region.

    :param keys: that the region signs with, see `signing.keys`; None: do not check signatures
    :raises RefusedError: the target cannot be reached
    """
    stored = Stored()
    ours = (environment.settings.region, environment.name)
    for backup, text in target.read_all().items():
        if text is None:
            stored.bad[backup] = Damaged(why="interrupted: it has no manifest", interrupted=True)
            continue
        try:
            found = manifest.parse(text, f"{target.where}/{backup}/{manifest.NAME}", keys)
        except RefusedError as error:
            stored.bad[backup] = Damaged(why=error.message)
            continue
        if found.id != backup:
            stored.bad[backup] = Damaged(why=f"its manifest belongs to {found.id}")
        elif (found.region, found.environment) != ours:
            theirs = f"region {found.region} of environment {found.environment}"
            stored.bad[backup] = Damaged(why=f"its manifest belongs to {theirs}")
        else:
            (stored.good if found.signature else stored.unsigned)[backup] = found
    return stored


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

    def _may_write(self, present: bool) -> AbstractContextManager[object]:
        """The first backup adds keys to secrets.yml: not while another run uses it."""
        environment = self.region.environment
        return nullcontext() if present or is_ours(environment) else region_lock(environment)

    @cached_property
    def identity(self) -> tuple[str, bool]:
        """The key that decrypts the backup, and whether it is new."""
        environment = self.region.environment
        with self._may_write(crypt.has_identity(environment)):
            return crypt.ensure_identity(environment)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys that sign backups, the current one first."""
        with self._may_write(signing.SECRET in self.region.secrets):
            return signing.ensure(self.region.environment)

    def secrets(self) -> Iterable[str]:
        """See Operation."""
        return [*self.region.secrets.values(), self.identity[0], *self.keys]

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
        stored = load(self.region.environment, self.target, self.keys)
        for backup in (b for b, damaged in stored.bad.items() if damaged.interrupted):
            self.target.remove(backup)
            session.emit(TaskDone(f"removed the interrupted backup {backup}"))
        # only what this region signed is continued
        backup = _new_id({*stored.good, *stored.unsigned, *stored.bad})
        job = _Job(self.region, self.target, session, backup, (secret, self.keys), stored.good, self.request.full)
        done = job.run(plan)
        session.check()
        stored.good[done.id] = done
        return Created(done, _forget(self.region, self.target, stored, session.emit))


def _new_id(taken: set[str]) -> str:
    while (backup := manifest.new_id(datetime.now(UTC))) in taken:
        time.sleep(0.2)
    return backup


def _forget(region: Region, target: Target, stored: Stored, watch: Watch) -> tuple[str, ...]:
    settings = region.environment.settings.backup
    verified = proofs.read(region.environment).keys()
    old = chain.expired_of(
        list(stored.good.values()), list(stored.unsigned.values()), settings.daily, settings.weekly, verified
    )
    # newest first, so that no chain loses its beginning before its end
    for backup in reversed(old):
        target.remove(backup)
        watch(TaskDone(f"removed the expired backup {backup}"))
    return old


class _Job:
    """A backup in progress."""

    def __init__(
        self, region: Region, target: Target, session: Session, backup: str, keys: tuple[str, tuple[str, ...]],
        known: dict[str, Manifest], full: bool,
    ) -> None:  # fmt: skip
        self.region, self.target, self.session, self.id, self.full = region, target, session, backup, full
        self.known = known
        self.secret, self.keys = keys
        self.recipients = (crypt.public(self.secret, "secrets.yml"), *region.environment.settings.backup.recipients)
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
            found = manifest.signed(found, self.keys[0])
            self._write_keys()
            self.target.commit(self.id, manifest.dump(found))
        except BaseException:
            self._clean()
            raise
        return found

    def _write_keys(self) -> None:
        """With them, the vault password opens the backup even if nothing else of the manager is left."""
        values = {crypt.SECRET: self.secret, signing.SECRET: " ".join(self.keys)}
        text = vault.encrypt(secrets.dump(values), vault.password(self.region.environment))
        with self.target.writing(self.id, manifest.KEYS) as to:
            to.write(text.encode())

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
                found = self._keep(name, "environment.tar.gz.age", parts.archive(self.region.environment), "", "")
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
                    return self._keep(name, file, process.output, host.name, image)
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
            part = self._keep(DATABASE, "mariadb.xb.gz.age", process.output, host, image)
        log.check(host)
        self.session.emit(Stage(f"counting rows on {host}"))
        after, touched = source.count(self.region, host), source.touched(self.region, host, since)
        self.database = Database(
            kind=kind,
            base=choice.base,
            base_signature=self.known[choice.base].signature if choice.base else "",
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

    def _keep(self, name: str, file: str, reads: crypt.Reads, host: str, image: str) -> Part:
        meter = Meter(self.session.emit, f"{name}{f' from {host}' if host else ''}")
        made = stream.keep(self.target, self.id, file, reads, self.recipients, meter)
        # the address of the region's registry is nobody else's business
        image = image.removeprefix(f"{self.region.environment.settings.registry.host}/")
        return Part(
            name=name, file=file, host=host, image=image, size=made.size, sha256=made.sha256, pieces=made.pieces,
            encrypted=True,
        )  # fmt: skip
