# SPDX-License-Identifier: Apache-2.0
"""(desired, observed) -> what must change, why, and what it touches. Pure: nothing here reads or writes anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.desired.resolve import NODE_CONFIG, DesiredHost, File, RunContainer
from scs_deploy.environment import overrides as config
from scs_deploy.observed.compare import container_differences
from scs_deploy.observed.model import Observed, ObservedContainer
from scs_deploy.plan.change import REGION, Change, Kind
from scs_deploy.plan.ordering import Order
from scs_deploy.spec.release import Lock
from scs_deploy.spec.service import Impact, Phase

DISRUPTIVE = frozenset({Kind.REPLACE, Kind.RESTART, Kind.RELOAD, Kind.REMOVE, Kind.STOP})
"""Kinds that interrupt a container that works."""


class HostPlan(Model):
    """The differences of one host."""

    host: str
    changes: tuple[Change, ...]
    cluster_jobs: dict[str, tuple[str, str]] = Field(description="job: desired hash, hash of its last success here")
    phases: dict[str, Phase] = Field(description="job: its phase")
    once: frozenset[str] = Field(default=frozenset(), description="jobs that no recorded cluster runs again")
    superseded: frozenset[str] = Field(
        default=frozenset(), description="jobs on schemas that a later image's job changed since this one's did"
    )
    stateful: tuple[str, ...] = Field(default=(), description="services that have a volume of theirs here already")
    drained: bool = Field(default=False, description="by `scs node drain`; no reason to change anything")
    forced: dict[str, str] = Field(default={}, description="backend/server: drain or maint, in this host's HAProxy")
    down: tuple[str, ...] = Field(default=(), description="backend/server that does not work, says this host's HAProxy")
    used: dict[str, str] = Field(default={}, description="backend with one server in use: that server")
    addresses: tuple[str, ...] = Field(default=(), description="of the region's API, those that are here")
    refusals: tuple[str, ...] = Field(default=(), description="why nothing must be changed on this host at all")


class Plan(Model):
    """All changes of a run, in order."""

    changes: tuple[Change, ...]
    held: tuple[Change, ...] = Field(default=(), description="changes that wait for --allow")
    drained: tuple[str, ...] = Field(default=(), description="hosts that `scs node drain` took out of use")
    in_use: dict[str, tuple[str, ...]] = Field(
        default={}, description="service: hosts that a rolling change comes to last"
    )

    @property
    def empty(self) -> bool:
        """Nothing to do, and nothing held back."""
        return not self.changes and not self.held


def host_plan(desired: DesiredHost, observed: Observed, secrets: Iterable[str], lock: Lock) -> HostPlan:
    """Compare one host.

    :param secrets: values to hide in reasons
    :param lock: sizes of the images to pull
    """
    hidden = tuple(secrets)
    changes: list[Change] = []
    touched: dict[str, dict[str, str]] = {}
    for file in desired.files.values():
        reason, content = _file(file, observed, hidden)
        if reason:
            changes.append(
                _change(desired, Kind.FILE, file.service, _subject(file.path), reason, Phase.CONFIG, Impact.NONE)
            )
            if content:
                touched.setdefault(file.container, {})[file.name] = reason
    owners = {f.container: f.service for f in desired.files.values()}
    for path in sorted(observed.files.keys() - desired.files.keys()):
        service = owners.get(_subject(path).partition("/")[0], "")
        changes.append(
            _change(
                desired, Kind.FILE, service, _subject(path), "no container reads it any more", Phase.CONFIG, Impact.NONE
            )
        )
    rolls = _containers(desired, observed, touched)
    changes += _pulls(desired, observed, rolls) + rolls
    jobs: dict[str, tuple[str, str]] = {}
    for job in desired.jobs.values():
        last = observed.job_hash(job.name)
        if job.each == "cluster":
            jobs[job.name] = (job.hash, last)
        elif last != job.hash:
            changes.append(
                _change(desired, Kind.JOB, job.service, job.name, job_reason(last), job.phase, Impact.CONTROL)
            )
    return HostPlan(
        host=desired.host,
        changes=tuple(changes),
        cluster_jobs=jobs,
        superseded=frozenset(
            n for n, j in desired.jobs.items() if n in jobs and j.schema_change and observed.superseded(n, j.hash)
        ),
        phases={n: desired.jobs[n].phase for n in jobs},
        once=frozenset(n for n in jobs if desired.jobs[n].once),
        stateful=tuple(
            sorted(
                {r.service for r in desired.containers.values() if not r.volumes.keys().isdisjoint(observed.volumes)}
            )
        ),
        drained=observed.drained,
        forced=observed.forced,
        down=tuple(observed.down),
        used=observed.used,
        addresses=tuple(observed.addresses),
        refusals=tuple(_refusals(desired, observed, changes, lock)),
    )


def job_reason(last: str) -> str:
    """Why a job runs, from the hash of its last success."""
    return "its image or command changed" if last else "has not run yet"


def assemble(
    hosts: Sequence[HostPlan],
    region: Iterable[Change],
    waves: dict[str, int],
    services: frozenset[str],
    only_hosts: frozenset[str] | None = None,
    allow: frozenset[Impact] = frozenset(),
    order: Order = Order(),
) -> Plan:
    """One plan from all hosts' and the region's changes.

    :param waves: service: wave, in deployment order
    :param services: changes of other services are left out
    :param only_hosts: changes of other hosts are left out; None: no limit
    :param allow: impacts that need no further consent
    :param order: what of a service comes before what
    :raises RefusedError: a host cannot take its changes
    """
    refusals = [r for h in hosts if only_hosts is None or h.host in only_hosts for r in h.refusals]
    if refusals:
        raise RefusedError("; ".join(refusals))
    changes = [c for h in hosts for c in h.changes]
    region_changes = list(region)
    renewed = {
        c.service
        for c in region_changes
        if c.kind is Kind.DATABASE and "schema" in c.subject.split() and c.reason in ("missing", "not there yet")
    }
    changes += region_changes + _cluster_jobs(hosts, renewed, order)
    elsewhere: list[Change] = []
    if only_hosts is not None:
        elsewhere = [c for c in changes if c.host not in only_hosts]
        changes = [c for c in changes if c.host in only_hosts]
    # leftovers of services that the catalog no longer has go with a full run only
    changes = [c for c in changes if c.service in services or (c.service not in waves and services == frozenset(waves))]
    held_services = order.waiting(
        changes,
        frozenset(
            (c.host, c.service)
            for c in changes
            if c.impact is Impact.DATA_PLANE and c.kind in DISRUPTIVE and Impact.DATA_PLANE not in allow
        ),
    )
    left_out = order.unready([*changes, *elsewhere], elsewhere)
    left_out |= {c.subject for c in elsewhere if c.kind is Kind.RECORD}
    changes = [c for c in changes if c.subject not in left_out and not _unrecorded(c, left_out, order)]
    place = {s: i for i, s in enumerate(waves)}
    phases = {p: i for i, p in enumerate(Phase)}

    def key(change: Change) -> tuple[int, int, int, int]:
        return (
            order.wave(change, waves), phases[change.phase], order.stage(change), place.get(change.service, -1)
        )  # fmt: skip

    ordered = sorted(changes, key=key)
    unready = order.unready(ordered, (c for c in ordered if (c.host, c.service) in held_services))
    waiting = [
        c for c in ordered
        if (c.host, c.service) in held_services or c.subject in unready or _unrecorded(c, unready, order)
    ]  # fmt: skip
    return Plan(
        changes=tuple(c for c in ordered if c not in waiting),
        held=tuple(waiting),
        drained=tuple(h.host for h in hosts if h.drained),
    )


def _unrecorded(change: Change, jobs: frozenset[str], order: Order) -> bool:
    """A restart that one of these jobs is about: it waits with it."""
    about = {(p.host, p.container) for j in jobs for p in order.restarts.get(j, ())}
    return change.phase is Phase.FINISH and change.kind is Kind.RESTART and (change.host, change.subject) in about


def states(desired: DesiredHost, observed: Observed) -> list[dict[str, Any]]:
    """A line per container for `scs status`."""
    result = []
    for name, run in desired.containers.items():
        seen = observed.containers.get(name)
        result.append(
            {
                "host": desired.host,
                "service": run.service,
                "container": name,
                "state": seen.status if seen else "missing",
                "health": (seen.health if seen else None) or "",
                "restarts": seen.restarts if seen else 0,
                "started": seen.started if seen else None,
                "image": run.image.rpartition("@")[2][:19],
            }
        )
    return result


def _change(
    desired: DesiredHost, kind: Kind, service: str, subject: str, reason: str, phase: Phase, impact: Impact
) -> Change:
    return Change(
        kind=kind, service=service, host=desired.host, subject=subject, reason=reason, phase=phase, impact=impact
    )


def _subject(path: str) -> str:
    return path.removeprefix(NODE_CONFIG + "/")


def _file(file: File, observed: Observed, secrets: tuple[str, ...]) -> tuple[str, bool]:
    """(reason, whether the content changes); ('', False) when all is right."""
    seen = observed.files.get(file.path)
    if seen is None:
        return "new file", True
    digest, mode, uid, gid, _ = seen
    if digest != file.sha256:
        if file.name.endswith((".key", ".pem")):
            return "new key or certificate", True
        lines = config.differences(observed.texts.get(file.path, ""), file.content, file.format, secrets)
        shown = "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")
        return shown, True
    if (mode, uid, gid) != (file.mode, file.uid, file.gid):
        return f"mode {mode} {uid}:{gid} -> {file.mode} {file.uid}:{file.gid}", False
    return "", False


def _containers(desired: DesiredHost, observed: Observed, touched: dict[str, dict[str, str]]) -> list[Change]:
    changes = []
    for name, seen in observed.containers.items():
        if seen.managed and name not in desired.containers:
            service = seen.Labels.get("scs.service", "")
            changes.append(
                _change(
                    desired, Kind.REMOVE, service, name, "not in the catalog for this host", Phase.ROLL, Impact.CONTROL
                )
            )
    for name, run in desired.containers.items():
        kind, reason = _container(run, observed.containers.get(name), observed, touched.get(name, {}))
        if kind:
            # new certificates alone interrupt nothing, whatever the container is for
            gentle = kind is Kind.RELOAD and (run.impact is not Impact.DATA_PLANE or run.reload_only)
            impact = Impact.RELOAD if gentle else run.impact
            changes.append(_change(desired, kind, run.service, name, reason, Phase.ROLL, impact))
    return changes


def _container(
    run: RunContainer, seen: ObservedContainer | None, observed: Observed, files: dict[str, str]
) -> tuple[Kind | None, str]:
    if seen is None:
        return Kind.CREATE, "missing"
    reasons = container_differences(run, seen, observed.images)
    if reasons:
        return Kind.REPLACE, "; ".join(reasons)
    if seen.status != "running":
        why = "stopped with `scs stop`" if run.name in observed.stopped else f"{seen.status} with code {seen.exit_code}"
        return Kind.START, why
    reloaded = max(seen.started_at, observed.reloads.get(run.name, 0.0))
    needs: dict[str, Kind] = {}
    for path in run.files:
        name = path.removeprefix(f"{NODE_CONFIG}/{run.name}/")
        kind = taken_by(run, name)
        since = reloaded if kind is Kind.RELOAD else seen.started_at
        if kind and (name in files or (path in observed.files and observed.files[path][4] > since)):
            needs[name] = kind
    if not needs:
        return None, ""
    said = [f"{name}: {files[name]}" for name in needs if name in files]
    newer = [name.rpartition("/")[2] for name in needs if name not in files]
    why = "; ".join(said) if said else f"{', '.join(newer)} newer than the running process"
    return (Kind.RESTART if Kind.RESTART in needs.values() else Kind.RELOAD), why


_LEAF = frozenset({"tls/host.crt", "tls/host.key"})
_RELOADED = {"leaf": _LEAF, "tls": _LEAF | {"ca.crt", "tls/ca.crt"}}


def taken_by(run: RunContainer, name: str) -> Kind | None:
    """What has a running container use a file's new content: a restart, a reload, or nothing at all."""
    if name in run.live:
        return None
    able = run.reload_itself or run.reload_signal is not None or run.reload_command is not None
    if not able or (run.reload_only and name not in _RELOADED[run.reload_only]):
        return Kind.RESTART
    return None if run.reload_itself else Kind.RELOAD


def _pulls(desired: DesiredHost, observed: Observed, rolls: list[Change]) -> list[Change]:
    changes: list[Change] = []
    seen: set[str] = set()
    for roll in rolls:
        run = desired.containers.get(roll.subject)
        if run and run.image not in observed.images and run.image not in seen:
            seen.add(run.image)
            digest = run.image.rpartition("@")[2][:15]
            changes.append(
                _change(
                    desired,
                    Kind.PULL,
                    run.service,
                    run.name,
                    f"image {digest} is not on the host",
                    Phase.PULL,
                    Impact.NONE,
                )
            )
    return changes


def _refusals(desired: DesiredHost, observed: Observed, changes: list[Change], lock: Lock) -> Iterable[str]:
    sizes = {i.digest: i.size for i in lock.images.values()}
    pulls = [desired.containers[c.subject].image for c in changes if c.kind is Kind.PULL]
    needed = sum(sizes.get(i.rpartition("@")[2], 0) for i in pulls)
    if needed * 1.1 > observed.free:
        yield (
            f"host {desired.host}: {needed / 1e9:.1f} GB of images to pull, "
            f"{observed.free / 1e9:.1f} GB free: make room first"
        )
    if any(c.kind is Kind.REMOVE for c in changes):
        return
    taken = {(a, p) for a, p in observed.listening}
    for change in changes:
        if change.kind is Kind.CREATE:
            run = desired.containers[change.subject]
            for port in run.ports:
                for address in (run.address, "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
                    if (address, port) in taken:
                        yield (
                            f"host {desired.host}: port {port} on {address}, which {run.name} needs, "
                            "is taken by another process: stop that first"
                        )
                        break


def _cluster_jobs(hosts: Sequence[HostPlan], renewed: set[str], order: Order) -> list[Change]:
    """A cluster's job runs once, on the first host that has it, unless some host records this very job.

    All hosts that have it record its success: a cluster whose first host lost its disk is still known as one.
    """
    able: dict[str, list[str]] = {}
    once = frozenset[str]().union(*(h.once for h in hosts))
    superseded = frozenset[str]().union(*(h.superseded for h in hosts))
    wanted: dict[str, str] = {}
    records: dict[str, set[str]] = {}
    phase: dict[str, Phase] = {}
    for plan in sorted(hosts, key=lambda h: h.host):
        for job, (want, last) in plan.cluster_jobs.items():
            able.setdefault(job, []).append(plan.host)
            wanted.setdefault(job, want)
            records.setdefault(job, set()).add(last)
            phase.setdefault(job, plan.phases[job])
    result = []
    for job, (host, *others) in able.items():
        if job in once and any(records[job]):
            continue
        service = job.partition(".")[0]
        again = service in renewed and phase[job] in (Phase.MIGRATE, Phase.FINISH)
        if wanted[job] not in records[job] or again:
            reason = "its database is new" if again else job_reason("".join(records[job]))
            change = Change(
                kind=Kind.JOB, service=service, host=host, subject=job, reason=reason, phase=phase[job],
                impact=Impact.CONTROL, witnesses=tuple(others),
            )  # fmt: skip
            known = any(records[job]) and not again
            if job in superseded and not again:
                # earlier programs work with it, as they do in every roll, but do not know its revision
                said = "the schema is a later image's already"
                result.append(change.model_copy(update={"kind": Kind.RECORD, "reason": said}))
                continue
            result += order.anew(change, known) if job in order.restarts else [change]
    return result


__all__ = ["DISRUPTIVE", "REGION", "HostPlan", "Plan", "assemble", "host_plan", "states"]
