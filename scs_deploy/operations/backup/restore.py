# SPDX-License-Identifier: Apache-2.0
"""Restores a backup: reads everything, shows the plan, and carries it out as a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import RecoveryStep
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.desired import resolve
from scs_deploy.engine.access import Access, saying
from scs_deploy.engine.events import Stage, TaskDone, Watch, guarded, ignore
from scs_deploy.operations.backup import create, crypt, parts, preview, stream, unpack, verify
from scs_deploy.operations.backup.choose import Chosen, choose
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT
from scs_deploy.operations.backup.restore_plan import HostFacts, RestorePlan, Target, quiet_containers, refuse, steps
from scs_deploy.operations.backup.restore_run import Restoring
from scs_deploy.operations.base import Operation, Session, Step, session_of
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Saved


class RestoreRequest(Model):
    """What to restore, and how."""

    backup: str = ""
    """its id; '' for the last backup with the selected parts"""
    only: tuple[str, ...] = ()
    """names of parts or services; empty for all parts of the backup"""
    host: str = ""
    """member to restore the database on; '' for the member that was copied"""
    copies: bool = True
    """keep a copy of the current data directory"""
    identity: Path | None = None
    """file with an age secret key to use instead of the vault's"""
    unsigned_until: date | None = None
    """use backups without signature, too, up to those of this day"""


@dataclass(frozen=True)
class Restored:
    """The result of a restore."""

    plan: RestorePlan
    run: str = ""
    """'' if nothing was changed"""
    extracted: str = ""
    """folder with the region's description"""
    uncertain: tuple[str, ...] = field(default=())


class Restore(Operation[RestoreRequest, RestorePlan, Restored]):
    """Restores a backup: stops services, restores one member, lets the others join it, and starts the services."""

    name = "backup restore"
    requests = RestoreRequest
    repeat = "repeat the command: a restore reads the backup again and starts from its first step"

    def plan(self, watch: Watch = ignore) -> RestorePlan:
        """Read every file that is needed, observe the hosts, and make the plan.

        :raises RefusedError: a file is damaged or encrypted with another key, a host is unreachable, ...
        """
        watch = guarded(watch)
        check(self.chosen(watch), self.secret, watch)
        return make_plan(self.region, self.chosen(watch), self.request, self.secret, watch)

    def chosen(self, watch: Watch = ignore) -> Chosen:
        """The selected backup with its chain, cached.

        :raises RefusedError: no such backup or part
        """
        if self._chosen is None:
            request = self.request
            self._chosen = choose(self.region, request.backup, request.only, watch, request.unsigned_until)
        return self._chosen

    _chosen: Chosen | None = None

    @cached_property
    def secret(self) -> str:
        """The key that decrypts the backup."""
        return crypt.identity(self.region.environment, self.request.identity)

    def total(self, plan: RestorePlan) -> int:
        """See Operation."""
        return len(plan.steps)

    def empty_result(self, plan: RestorePlan) -> Restored:
        """See Operation."""
        return Restored(plan)

    @contextmanager
    def session(self, watch: Watch = ignore) -> Iterator[Session]:
        """Holds both locks, so that no other run and no backup can run meanwhile."""
        with session_of(self.region.environment, watch) as session, create.lock_of(self.region):
            yield session

    def secrets(self) -> Iterable[str]:
        """See Operation."""
        return [*self.region.secrets.values(), self.secret]

    def carry_out(self, session: Session, plan: RestorePlan) -> Restored:
        """See Operation.

        :raises ScsError: a step failed; a repeated restore starts from the first step
        """
        restoring = Restoring(self.region, self.chosen(), plan, self.secret, session.emit)
        access = Access(self.region, saying(session.emit))

        def does(step: RecoveryStep) -> Callable[[], None]:
            return lambda: restoring.act(access, step)

        session.carry_out("recover", [Step(s.container or s.action, s.what, does(s), s.hosts) for s in plan.steps])
        return Restored(plan, session.record.id, restoring.extracted, restoring.uncertain)


def check(chosen: Chosen, secret: str, watch: Watch) -> None:
    """Check every file that the restore needs.

    :raises RefusedError: a file is missing, damaged, or encrypted with another key
    """
    for owner, part in unpack.files_of(chosen.links, chosen.backup, chosen.parts):
        unpack.check_file(chosen.target, owner, part, watch)
        unpack.check_key(chosen.target, owner, part, secret)
    watch(TaskDone("checked the checksums and the key of all files"))


def make_plan(region: Region, chosen: Chosen, request: RestoreRequest, secret: str, watch: Watch) -> RestorePlan:
    """Observe the hosts and make the plan. Changes nothing.

    :param secret: the key that decrypts the backup
    :raises RefusedError: the backup cannot be restored
    """
    declared = _declared(region, chosen)
    quiet = quiet_containers(region.catalog, chosen.parts, declared)
    involved = {*quiet, *(s.container for s in declared.values()), *([DATABASE] if DATABASE in chosen.parts else [])}
    where = {c: hosts_of(region, c) for c in involved}
    watch(Stage("observing the hosts"))
    hosts = read_hosts(region, sorted({h for own in where.values() for h in own}))
    # a missing container need not be stopped; an unreachable one cannot write without its API or conductor
    resting = {c: there for c in quiet if (there := tuple(h for h in where[c] if c in hosts[h].containers))}
    # `scs stop` stops these too, and the other containers do not work without them
    services = {region.catalog.owner[c] for c in resting}
    others = [c for s in services for c in region.catalog.services[s].containers if c not in quiet]
    stopped = {h: facts.stopped for h, facts in hosts.items()}
    beside = {c: there for c in others if (there := tuple(h for h in hosts_of(region, c) if c in stopped.get(h, ())))}
    members = hosts_of(region, DATABASE) if DATABASE in chosen.parts else []
    needed: dict[str, list[str]] = {}
    for saved in declared.values():
        own = where[saved.container]
        if not saved.offline:
            # one member loads the data for all
            having = [h for h in own if saved.container in hosts[h].containers]
            running = [h for h in having if saved.container not in hosts[h].stopped]
            own = (running or having or own)[:1]
        needed[saved.container] = where[saved.container] = own
    if members:
        needed[DATABASE] = members
    refuse(chosen.backup, region.release.name, hosts, needed, None)
    host, target = "", None
    if members:
        host = request.host or _member(chosen, members)
        if host not in members:
            raise RefusedError(f"{DATABASE} has no member on '{host}'", f"it runs on: {', '.join(members)}")
        target = _target(region, chosen, host)
        refuse(chosen.backup, region.release.name, hosts, needed, target)
    if any(s.preview for s in declared.values()):
        watch(Stage("comparing with what is there"))
    previews = preview.ask(region, chosen, declared, where, secret)
    adds = preview.adding(previews, request.only)
    loaded = {n: s for n, s in declared.items() if n in adds or n not in previews}
    return RestorePlan(
        backup=chosen.backup.id,
        links=tuple(m.id for m in chosen.links),
        parts=chosen.parts,
        quiet=resting,
        beside=beside,
        adds=adds,
        steps=steps(chosen.links, chosen.parts, loaded, where, resting, members, host, request.copies),
        notes=(
            *_notes(region, chosen, previews),
            *(note for n, p in previews.items() for note in p.words(n, parts.named(n, request.only))),
            *([f"already stopped, will be started with the others: {', '.join(sorted(beside))}"] if beside else []),
            *_silent(hosts),
        ),
    )


def _declared(region: Region, chosen: Chosen) -> dict[str, Saved]:
    """The selected parts that services load."""
    declared = {n: s for n, s in parts.declared(region.catalog).items() if n in chosen.parts}
    unknown = [n for n in chosen.parts if n not in (DATABASE, ENVIRONMENT) and n not in declared]
    if unknown:
        raise RefusedError(
            f"no service of this catalog restores {', '.join(unknown)}", "select other parts with --only"
        )
    return declared


def hosts_of(region: Region, container: str) -> list[str]:
    """Hosts that a container belongs on."""
    return [h.name for h in region.hosts_of(region.catalog.owner[container], container)]


def _member(chosen: Chosen, members: Sequence[str]) -> str:
    database = chosen.backup.database
    return database.host if database and database.host in members else members[0]


def _notes(region: Region, chosen: Chosen, adding: Collection[str]) -> list[str]:
    notes = []
    if set(chosen.parts) - {ENVIRONMENT, *adding}:
        notes.append(f"data written since {chosen.backup.started:%Y-%m-%d %H:%M:%S} UTC will be lost")
    now = {name: image.digest for name, image in region.lock.images.items()}
    other = sorted(n for n, digest in chosen.backup.images.items() if now.get(n) not in (None, digest))
    if other:
        notes.append(f"images that have changed since the backup: {', '.join(other)}")
    if DATABASE in chosen.parts:
        notes.append("run `scs apply` afterwards to set the current passwords of service accounts")
    return notes


def _silent(hosts: Mapping[str, HostFacts]) -> list[str]:
    return [f"host {h} is unreachable: nothing is stopped there" for h, f in sorted(hosts.items()) if f.unreachable]


def read_hosts(region: Region, hosts: Sequence[str]) -> dict[str, HostFacts]:
    """The containers of each host, and which of them are stopped."""

    def ask(host: str) -> HostFacts:
        try:
            text = stream.output_of(region, host, ["docker", "ps", "--all", "--format", "{{.Names}} {{.State}}"])
        except ScsError as error:
            return HostFacts(unreachable=error.message)
        states = dict(line.split() for line in text.splitlines())
        stopped = frozenset(name for name, state in states.items() if state in ("exited", "created"))
        return HostFacts(containers=frozenset(states), stopped=stopped)

    with ThreadPoolExecutor(16) as pool:
        return dict(zip(hosts, pool.map(ask, hosts), strict=True))


def _target(region: Region, chosen: Chosen, host: str) -> Target:
    run = resolve.resolve(region, host, {DATABASE}).containers[DATABASE]
    free, version = (
        stream.output_of(region, host, stream.beside(run, ["sh", "-c", physical.ROOM])).strip().splitlines()[-2:]
    )
    found = physical.base_version(version.partition("Ver ")[2])
    return Target(host=host, version=found, free=int(free), needed=verify.needs(chosen.links))
