# SPDX-License-Identifier: Apache-2.0
"""Galera: finds the member with the newest data, and the steps that recover the cluster. Pure.

Sources: Galera documentation, "Quorum Reset", "Restarting the Cluster", "Safe-to-Bootstrap protection", "Primary
Component recovery" (gvwstate.dat); https://galeracluster.com/library/documentation/quorum-reset.html
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import Recovery, RecoveryOptions, RecoveryStep, known, names
from scs_deploy.engine.remote import ContainerState

SERVICE = "mariadb"

NOBODY = "00000000-0000-0000-0000-000000000000"
"""A state without history: a new directory, or an incomplete copy from a donor."""


class Data(StrEnum):
    """What a member's data directory holds."""

    PRESENT = "present"
    EMPTY = "empty"
    UNKNOWN = "unknown"


class Member(Model):
    """The observed state of one member."""

    host: str
    container: ContainerState
    why: str = ""
    """why nothing more is known: the message of ssh or of the container engine"""
    status: str = ""
    """wsrep_cluster_status of a server that responds: Primary, non-Primary, Disconnected"""
    state: str = ""
    """wsrep_local_state_comment of a server that responds: Synced, Joiner, Donor/Desynced ..."""
    size: int = 0
    """wsrep_cluster_size: members that this one counts, including itself"""
    data: Data = Data.UNKNOWN
    uuid: str = ""
    """of the history that its data belongs to; '' if unknown or none"""
    seqno: int | None = None
    """of the last write set in its data; None if unknown"""
    source: str = ""
    """where uuid and seqno were read: status, grastate.dat, or recovered from InnoDB"""
    safe: bool = False
    """safe_to_bootstrap: it was the last member to leave"""
    view: int = 0
    """number of members in the primary component saved in gvwstate.dat"""
    size_bytes: int = 0
    """size of its data directory, without files that are recreated"""
    free_bytes: int = 0
    """free where a copy would be stored"""

    @property
    def primary(self) -> bool:
        """Whether it is in a primary component."""
        return self.status == "Primary"


class GaleraOptions(RecoveryOptions):
    """Bring the database back: bootstrap the member with the newest data, join the others."""

    bootstrap_from: str = Field(
        default="",
        description="Take this member's data although another's differs or is newer.",
        json_schema_extra={"metavar": "HOST"},
    )
    copies: bool = Field(
        default=True, description="Do not copy data directories first.", json_schema_extra={"option": "--no-copy"}
    )


def parse_grastate(text: str) -> tuple[str, int, bool]:
    """(uuid, seqno, safe_to_bootstrap) of a grastate.dat; ('', -1, False) if it has none."""
    found = dict(re.findall(r"^(uuid|seqno|safe_to_bootstrap):\s*(\S+)", text, re.MULTILINE))
    uuid = found.get("uuid", "")
    seqno = found.get("seqno", "-1")
    good = re.fullmatch(r"[0-9a-f-]{36}", uuid) and re.fullmatch(r"-?\d+", seqno)
    return (
        (uuid if uuid != NOBODY else "", int(seqno), found.get("safe_to_bootstrap") == "1") if good else ("", -1, False)
    )


def parse_view(text: str) -> int:
    """Number of members in the primary component saved in a gvwstate.dat."""
    return len(re.findall(r"^member: ", text, re.MULTILINE))


def parse_position(log: str) -> tuple[str, int] | None:
    """(uuid, seqno) that `mariadbd --wsrep-recover` printed; None if it printed none."""
    found = re.findall(r"WSREP: Recovered position: ([0-9a-f-]{36}):(-?\d+)", log)
    return (found[-1][0], int(found[-1][1])) if found else None


def parse_status(text: str) -> dict[str, str]:
    """Parse SHOW STATUS in batch mode: name and value separated by a tab."""
    return {name.lower(): value.strip() for name, _, value in (line.partition("\t") for line in text.splitlines())}


def settling(members: Collection[Member]) -> str:
    """Servers that may be starting: they run but do not respond yet, or they are joining."""
    starting = [m.host for m in members if m.container is ContainerState.RUNNING and (not m.status or _joining(m))]
    return f"waiting for mariadb on {names(starting)} to answer" if starting else ""


def decide(members: Collection[Member], options: GaleraOptions) -> Recovery:
    """Decide how to recover the cluster.

    :raises RefusedError: a member that may have newer data is unreachable, or histories differ
    """
    known(SERVICE, [m.host for m in members], (*options.without, *filter(None, [options.bootstrap_from])))
    if options.bootstrap_from in options.without:
        raise RefusedError(
            f"'{options.bootstrap_from}' is named by both --without and --bootstrap-from", "name it once"
        )
    rest = sorted((m for m in members if m.host not in options.without), key=lambda m: m.host)
    table = tuple(row(m) for m in sorted(members, key=lambda m: m.host))
    reachable = [m for m in rest if m.container is not ContainerState.UNREACHABLE]
    if not reachable:
        raise RefusedError("no member of mariadb is reachable", "check the power and network of its hosts")
    primary = [m for m in reachable if m.primary]
    if primary:
        split = _split(primary)
        if not split:
            return _join_others(primary, reachable, members, table, options)
        if not options.bootstrap_from:
            raise RefusedError(
                f"mariadb: {split}",
                "choose the member whose data to keep with --bootstrap-from HOST; the others get a copy of it",
            )
        return _bootstrap(rest, table, options, split)
    return _bootstrap(rest, table, options, "no member has a quorum")


def row(m: Member) -> dict[str, str]:
    """A line of the table."""
    answered = f"{m.status}, {m.state}" if m.status else ""
    return {
        "host": m.host,
        "container": m.container.value,
        "state": answered or m.why or ("no data" if m.data is Data.EMPTY else ""),
        "uuid": m.uuid,
        "seqno": "" if m.seqno is None else str(m.seqno),
        "source": m.source,
        "safe_to_bootstrap": "1" if m.safe else "0" if m.data is Data.PRESENT else "",
        "last_view": f"{m.view} members" if m.view else "",
    }


def _joining(m: Member) -> bool:
    return m.primary and m.state not in ("Synced", "Donor/Desynced")


def _split(primary: Collection[Member]) -> str:
    """Why the primary members do not form a single cluster; '' if they do."""
    uuids = sorted({m.uuid for m in primary})
    if NOBODY in uuids:
        return (
            f"{names(m.host for m in primary)} run without a history: they restarted after all members crashed "
            "without comparing their data, which may differ, and no other member can join"
        )
    if len(uuids) > 1:
        runs = "; ".join(f"{names(m.host for m in primary if m.uuid == u)} with history {u}" for u in uuids)
        return f"more than one cluster is running: {runs}"
    if any(m.size < len(primary) for m in primary):
        runs = "; ".join(f"{m.host} counts {m.size} member(s)" for m in primary)
        return f"more than one cluster is running: {runs}"
    return ""


def _join_others(
    primary: list[Member],
    reachable: list[Member],
    members: Collection[Member],
    table: tuple[dict[str, str], ...],
    options: GaleraOptions,
) -> Recovery:
    """A quorum exists: the others start and copy what they lack from it."""
    if options.bootstrap_from:
        raise RefusedError(
            f"mariadb has a quorum ({names(m.host for m in primary)}): there is nothing to bootstrap",
            "leave --bootstrap-from out",
        )
    uuid = primary[0].uuid
    steps: list[RecoveryStep] = []
    warnings = [
        f"{m.host} is not reachable ({m.why}); it rejoins automatically when it is back"
        for m in members
        if m.container is ContainerState.UNREACHABLE
    ]
    donor = any(m.state == "Donor/Desynced" for m in primary)
    for m in reachable:
        if m.primary and not _joining(m):
            continue
        if _joining(m) or (donor and m.container is ContainerState.RUNNING and not m.status):
            steps.append(
                RecoveryStep(action="wait", hosts=(m.host,), container=SERVICE, what="wait until it is in sync")
            )
            continue
        if m.container is not ContainerState.STOPPED and m.container is not ContainerState.ABSENT:
            steps.append(RecoveryStep(action="stop", hosts=(m.host,), container=SERVICE, what="stop mariadb"))
        if m.uuid and m.uuid != uuid:
            warnings.append(f"{m.host} has data from another history ({m.uuid}), which the cluster's data will replace")
            steps += _copies([m], options, warnings)
        steps.append(_join(m))
    hosts = names(m.host for m in primary)
    lacks = names(s for step in steps for s in step.hosts if step.action in ("join", "wait"))
    summary = f"{hosts} have the quorum; {lacks} joins" if steps else f"{hosts}: Primary and Synced, history {uuid}"
    return Recovery(members=table, steps=tuple(steps), warnings=tuple(warnings), summary=summary)


def _bootstrap(rest: list[Member], table: tuple[dict[str, str], ...], options: GaleraOptions, found: str) -> Recovery:
    """No member has a quorum: the newest data starts a new cluster, and the others join it."""
    lost = [m for m in rest if m.container is ContainerState.UNREACHABLE]
    if lost:
        raise RefusedError(
            f"could not reach {names(m.host for m in lost)} ({'; '.join(m.why for m in lost)}), which may have the "
            "newest data",
            "bring the hosts back; or give up their latest writes with "
            + " ".join(f"--without {m.host}" for m in lost),
        )
    active = [m for m in rest if m.container in (ContainerState.RUNNING, ContainerState.RESTARTING)]
    if active:
        return _stop_and_read(active, rest, table, found)
    if all(m.data is Data.EMPTY for m in rest):
        raise RefusedError("no member of mariadb has data", "`scs apply` creates a new database; or restore a backup")
    source, warnings = _newest(rest, options)
    holders = [m for m in rest if m.data is not Data.EMPTY]
    existing = tuple(m.host for m in rest if m.container is not ContainerState.ABSENT)
    hold = RecoveryStep(action="stop", hosts=existing, container=SERVICE, what="keep mariadb stopped")
    steps = [
        *([hold] if existing else []),
        *_copies(holders, options, warnings),
        RecoveryStep(
            action="bootstrap",
            hosts=(source.host,),
            container=SERVICE,
            target="" if source.uuid in ("", NOBODY) or source.seqno is None else _position(source),
            create=source.container is ContainerState.ABSENT,
            what=f"bootstrap the cluster from its data, {_position(source)}",
        ),
        *(_join(m) for m in rest if m is not source),
    ]
    if options.without:
        warnings.append(f"{names(options.without)} left out: writes that exist only there are lost when it rejoins")
    return Recovery(
        members=table,
        steps=tuple(steps),
        warnings=tuple(warnings),
        summary=f"{found}; {source.host} has the newest data, {_position(source)}"
        if not options.bootstrap_from
        else f"{found}; {source.host} was chosen, {_position(source)}",
    )


def _stop_and_read(active: list[Member], rest: list[Member], table: tuple[dict[str, str], ...], found: str) -> Recovery:
    """A position is final only while its server is stopped."""
    told = [m for m in rest if m.uuid and m.seqno is not None]
    best = max(told, key=lambda m: m.seqno or 0, default=None)
    so_far = f"; newest so far: {best.host}, {_position(best)}" if best else ""
    step = RecoveryStep(
        action="stop",
        hosts=tuple(m.host for m in active),
        container=SERVICE,
        what="stop mariadb to read the position of its data; the newest will be bootstrapped, the others join it",
    )
    return Recovery(members=table, steps=(step,), summary=found + so_far, partial=True)


def _newest(rest: list[Member], options: GaleraOptions) -> tuple[Member, list[str]]:
    """The member to bootstrap from, and warnings about data that will be lost.

    :raises RefusedError: data cannot be read or histories differ, and the operator named no member
    """
    warnings: list[str] = []
    candidates = [m for m in rest if m.uuid not in ("", NOBODY) and m.seqno is not None]
    if options.bootstrap_from:
        source = next(m for m in rest if m.host == options.bootstrap_from)
        if source.data is Data.EMPTY:
            raise RefusedError(f"{source.host} has no data to bootstrap from", "name another member")
        for m in rest:
            if not m.uuid or m is source:
                continue
            if m.uuid != source.uuid:
                warnings.append(f"{m.host} has another history ({m.uuid}); the data of {source.host} will replace it")
            elif source.seqno is None or (m.seqno or 0) > source.seqno:
                lost = "an unknown number of" if source.seqno is None else str((m.seqno or 0) - source.seqno)
                warnings.append(f"{m.host} is ahead of {source.host}: {lost} write sets will be lost")
        return source, warnings
    unreadable = [m for m in rest if m.data is not Data.EMPTY and m not in candidates]
    if unreadable:
        said = "; ".join(f"{m.host}: {m.why or 'its data has no position'}" for m in unreadable)
        raise RefusedError(
            f"could not read the position of {names(m.host for m in unreadable)}, which may be the newest ({said})",
            "leave it out with " + " ".join(f"--without {m.host}" for m in unreadable) + ", or name --bootstrap-from",
        )
    if len({m.uuid for m in candidates}) > 1:
        said = ", ".join(f"{m.host}: {_position(m)}" for m in candidates)
        raise RefusedError(
            f"members have different histories ({said})",
            "choose the member whose data to keep with --bootstrap-from HOST; the others lose theirs",
        )
    return min(candidates, key=lambda m: (-(m.seqno or 0), not m.safe, m.host)), warnings


def _copies(holders: list[Member], options: GaleraOptions, warnings: list[str]) -> list[RecoveryStep]:
    """Steps that copy data directories; adds a warning for each that does not fit."""
    if not options.copies:
        warnings.append("the data is not copied first (--no-copy)")
        return []
    warnings += [
        f"{m.host}: not copied first: needs {m.size_bytes >> 20} MiB, but {m.free_bytes >> 20} MiB are free"
        for m in holders
        if m.size_bytes > m.free_bytes
    ]
    fit = tuple(m.host for m in holders if m.size_bytes <= m.free_bytes)
    largest = max((m.size_bytes for m in holders), default=0) >> 20
    what = f"copy the data directory to /var/lib/scs/recovery/mariadb ({largest} MiB at most)"
    return [RecoveryStep(action="copy", hosts=fit, container=SERVICE, what=what)] if fit else []


def _join(m: Member) -> RecoveryStep:
    create = m.container is ContainerState.ABSENT
    what = f"{'create' if create else 'start'} mariadb and wait until it has joined and is in sync"
    return RecoveryStep(action="join", hosts=(m.host,), container=SERVICE, create=create, what=what)


def _position(m: Member) -> str:
    return f"{m.uuid or 'no history'}:{'?' if m.seqno is None else m.seqno}"
