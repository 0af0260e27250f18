# SPDX-License-Identifier: Apache-2.0
"""Putting a backup back: read everything, show the plan, then carry it out as a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.desired import resolve
from scs_deploy.operations.backup import create, crypt, parts, stream, unpack, verify
from scs_deploy.operations.backup.choose import Chosen
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT
from scs_deploy.operations.backup.restore_plan import HostFacts, RestorePlan, Target, quiet_containers, refuse, steps
from scs_deploy.operations.backup.restore_run import Restoring
from scs_deploy.operations.backup.stream import Say
from scs_deploy.operations.base import Start, session_of
from scs_deploy.operations.recover.session import Session
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region


@dataclass(frozen=True)
class Options:
    """What the operator spelled out."""

    host: str = ""
    """member that the database is restored on"""
    copies: bool = True
    identity: Path | None = None
    """file with an age secret key, instead of the vault's"""


@dataclass(frozen=True)
class Restored:
    """How it ended."""

    plan: RestorePlan
    run: str = ""
    """'': nothing was changed"""
    extracted: str = ""
    """where the region's description is"""
    uncertain: tuple[str, ...] = field(default=())


def restore(
    region: Region,
    chosen: Chosen,
    options: Options,
    say: Say,
    confirm: Callable[[RestorePlan], bool],
    command: str = "scs backup restore",
) -> Restored:
    """Check, plan, ask, and put back.

    :param confirm: is shown the plan and says whether to go on
    :raises RefusedError: nothing was changed: a file is damaged or under another key, a host does not answer, ...
    :raises ScsError: a step failed; repeat it: a restore begins again from the first step
    """  # fmt: skip
    with session_of(region.environment) as held, create.lock_of(region):
        secret = crypt.identity(region.environment, options.identity)
        check(chosen, secret, say)
        plan = make_plan(region, chosen, options, say)
        if not confirm(plan):
            return Restored(plan)
        start = Start(
            operation="backup restore", command=command, total=len(plan.steps), inputs=inputs(region),
            inventory=region.inventory.hash, repeat="repeat the command: a restore begins again from the first step",
            secrets=(*region.secrets.values(), secret),
        )  # fmt: skip
        restoring = Restoring(region, chosen, plan, secret)
        with held.recording(start) as record:
            session = Session(region, say, still_ours=held.check, record=record)
            for step in plan.steps:
                session.carry_out(step, restoring.act)
        return Restored(plan, record.id, restoring.extracted, restoring.uncertain)


def check(chosen: Chosen, secret: str, say: Say) -> None:
    """Read every file that will be needed.

    :raises RefusedError: one is missing, damaged, or under another key
    """
    for owner, part in unpack.files_of(chosen.links, chosen.backup, chosen.parts):
        unpack.check_file(chosen.target, owner, part, say)
        unpack.check_key(chosen.target, owner, part, secret)
    say("done", "checksums and key of all files")


def make_plan(region: Region, chosen: Chosen, options: Options, say: Say) -> RestorePlan:
    """Look at the hosts, and decide. Changes nothing.

    :raises RefusedError: it cannot be done
    """
    declared = {n: s for n, s in parts.declared(region.catalog).items() if n in chosen.parts}
    unknown = [n for n in chosen.parts if n not in (DATABASE, ENVIRONMENT) and n not in declared]
    if unknown:
        raise RefusedError(f"no service of this catalog takes {', '.join(unknown)}", "leave it out: --only")
    quiet = quiet_containers(region.catalog, chosen.parts, declared)
    involved = {*quiet, *(s.container for s in declared.values()), *([DATABASE] if DATABASE in chosen.parts else [])}
    where = {c: hosts_of(region, c) for c in involved}
    say("now", "looking at the hosts")
    hosts = look(region, sorted({h for own in where.values() for h in own}))
    # a container that is not there needs no rest; without its API or conductor, one out of reach cannot write
    resting = {c: there for c in quiet if (there := tuple(h for h in where[c] if c in hosts[h].containers))}
    # `scs stop` stops these too, and the others do not work without
    services = {region.catalog.owner[c] for c in resting}
    others = [c for s in services for c in region.catalog.services[s].containers if c not in quiet]
    stopped = {h: facts.stopped for h, facts in hosts.items()}
    beside = {c: there for c in others if (there := tuple(h for h in hosts_of(region, c) if c in stopped.get(h, ())))}
    members = hosts_of(region, DATABASE) if DATABASE in chosen.parts else []
    needed: dict[str, list[str]] = {}
    for saved in declared.values():
        own = where[saved.container]
        if not saved.offline:
            # one member takes it for all
            own = [h for h in own if saved.container in hosts[h].containers][:1] or own[:1]
        needed[saved.container] = where[saved.container] = own
    if members:
        needed[DATABASE] = members
    refuse(chosen.backup, region.release.name, hosts, needed, None)
    host, target = "", None
    if members:
        host = options.host or _member(chosen, members)
        if host not in members:
            raise RefusedError(f"{DATABASE} has no member on '{host}'", f"it runs on: {', '.join(members)}")
        target = _target(region, chosen, host)
        refuse(chosen.backup, region.release.name, hosts, needed, target)
    return RestorePlan(
        backup=chosen.backup.id,
        links=tuple(m.id for m in chosen.links),
        parts=chosen.parts,
        quiet=resting,
        beside=beside,
        steps=steps(chosen.links, chosen.parts, declared, where, resting, members, host, options.copies),
        notes=(
            *_notes(region, chosen),
            *([f"stopped now, and started with the others: {', '.join(sorted(beside))}"] if beside else []),
            *_silent(hosts),
        ),
    )


def hosts_of(region: Region, container: str) -> list[str]:
    """Hosts that a container belongs on."""
    return [h.name for h in region.inventory.group(region.group_of(region.catalog.owner[container], container))]


def _member(chosen: Chosen, members: Sequence[str]) -> str:
    database = chosen.backup.database
    return database.host if database and database.host in members else members[0]


def _notes(region: Region, chosen: Chosen) -> list[str]:
    notes = [f"what was written since {chosen.backup.started:%Y-%m-%d %H:%M:%S} UTC is lost"]
    now = {name: image.digest for name, image in region.lock.images.items()}
    other = sorted(n for n, digest in chosen.backup.images.items() if now.get(n) not in (None, digest))
    if other:
        notes.append(f"images that are others than at that time: {', '.join(other)}")
    if DATABASE in chosen.parts:
        notes.append("run `scs apply` afterwards: accounts of services get their present passwords")
    return notes


def _silent(hosts: Mapping[str, HostFacts]) -> list[str]:
    return [f"host {h} does not answer: nothing is stopped there" for h, f in sorted(hosts.items()) if f.unreachable]


def look(region: Region, hosts: Sequence[str]) -> dict[str, HostFacts]:
    """Which containers each host has, and which of them do not run."""

    def ask(host: str) -> HostFacts:
        try:
            text = stream.ask(region, host, ["docker", "ps", "--all", "--format", "{{.Names}} {{.State}}"])
        except ScsError as error:
            return HostFacts(unreachable=error.message)
        states = dict(line.split() for line in text.splitlines())
        stopped = frozenset(name for name, state in states.items() if state in ("exited", "created"))
        return HostFacts(containers=frozenset(states), stopped=stopped)

    with ThreadPoolExecutor(16) as pool:
        return dict(zip(hosts, pool.map(ask, hosts), strict=True))


def _target(region: Region, chosen: Chosen, host: str) -> Target:
    run = resolve.resolve(region, host, {DATABASE}).containers[DATABASE]
    free, version = stream.ask(region, host, stream.beside(run, ["sh", "-c", physical.ROOM])).strip().splitlines()[-2:]
    found = physical.base_version(version.partition("Ver ")[2])
    return Target(host=host, version=found, free=int(free), needed=verify.needs(chosen.links))
