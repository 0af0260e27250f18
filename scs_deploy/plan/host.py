# SPDX-License-Identifier: Apache-2.0
"""Compares the desired and the observed state of one host: the changes, their reasons and their impact. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.desired import ceph
from scs_deploy.desired.model import NODE_CONFIG, DesiredHost, File, RunContainer, RunJob
from scs_deploy.environment import overrides as config
from scs_deploy.observed.compare import container_differences
from scs_deploy.observed.model import BackendServer, ForcedServer, Observed, ObservedContainer
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.jobs import ClusterJob, job_reason
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.release import Lock

STORAGE = "storage"
"""The layer whose containers hold what guests have written."""

LEAVING = "_leaving"
"""Name suffix of a replaced container that finishes its work next to its successor, as in scs.core.containers."""


class HostPlan(Model):
    """The differences of one host."""

    host: str
    changes: tuple[Change, ...]
    cluster_jobs: tuple[ClusterJob, ...] = ()
    stateful: tuple[str, ...] = Field(default=(), description="services that already have a volume here")
    drained: bool = Field(default=False, description="by `scs node drain`; no reason to change anything")
    forced: tuple[ForcedServer, ...] = Field(default=(), description="drained or in maintenance in this host's HAProxy")
    down: tuple[BackendServer, ...] = Field(default=(), description="down in this host's HAProxy")
    used: dict[str, str] = Field(default={}, description="backend with one server in use: that server")
    addresses: tuple[str, ...] = Field(default=(), description="API addresses of the region that this host holds")
    refusals: tuple[str, ...] = Field(default=(), description="why nothing may be changed on this host")


def plan_host(desired: DesiredHost, observed: Observed, secrets: Iterable[str], lock: Lock) -> HostPlan:
    """Compare one host.

    :param secrets: values to hide in reasons
    :param lock: sizes of the images to pull
    """
    secrets = tuple(secrets)
    files, touched = _files(desired, observed, secrets)
    rolls = _containers(desired, observed, touched)
    jobs = [
        _change(desired, Kind.JOB, job.service, job.name, job_reason(observed.job_hash(job.name)), job.phase,
                Impact.CONTROL)
        for job in desired.jobs.values()
        if job.each != "cluster" and observed.job_hash(job.name) != job.hash
    ]  # fmt: skip
    changes = [*files, *_pulls(desired, observed, rolls), *rolls, *jobs]
    return HostPlan(
        host=desired.host,
        changes=tuple(changes),
        cluster_jobs=tuple(_cluster_job(j, observed) for j in desired.jobs.values() if j.each == "cluster"),
        stateful=tuple(
            sorted(
                {r.service for r in desired.containers.values() if not r.volumes.keys().isdisjoint(observed.volumes)}
            )
        ),
        drained=observed.drained,
        forced=tuple(observed.forced),
        down=tuple(observed.down),
        used=observed.used,
        addresses=tuple(observed.addresses),
        refusals=tuple(_refusals(desired, observed, changes, lock, secrets)),
    )


def container_states(desired: DesiredHost, observed: Observed) -> list[dict[str, Any]]:
    """The state of each container, for `scs status`."""
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


def _files(
    desired: DesiredHost, observed: Observed, secrets: tuple[str, ...]
) -> tuple[list[Change], dict[str, dict[str, str]]]:
    """Changes of files, and container: file with new content: reason."""
    changes: list[Change] = []
    touched: dict[str, dict[str, str]] = {}
    for file in desired.files.values():
        if found := _file(file, observed, secrets):
            reason, content = found
            changes.append(
                _change(desired, Kind.FILE, file.service, _subject(file.path), reason, Phase.CONFIG, Impact.NONE)
            )
            if content:
                touched.setdefault(file.container, {})[file.name] = reason
    owners = {f.container: f.service for f in desired.files.values()}
    for path in sorted(observed.files.keys() - desired.files.keys()):
        subject = _subject(path)
        service = owners.get(PurePosixPath(subject).parts[0], "")
        reason = "no container reads it"
        changes.append(_change(desired, Kind.DELETE, service, subject, reason, Phase.CONFIG, Impact.NONE))
    return changes, touched


def _file(file: File, observed: Observed, secrets: tuple[str, ...]) -> tuple[str, bool] | None:
    """(reason, whether the content changes); None: the file is up to date."""
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
    return None


def _containers(desired: DesiredHost, observed: Observed, touched: dict[str, dict[str, str]]) -> list[Change]:
    changes = []
    for name, run in desired.containers.items():
        kind, reason = _container(run, observed.containers.get(name), observed, touched.get(name, {}))
        if kind:
            # loading new certificates interrupts nothing, whatever the container does
            gentle = kind is Kind.RELOAD and (run.impact is not Impact.DATA_PLANE or (run.reload and run.reload.only))
            impact = Impact.RELOAD if gentle else run.impact
            changes.append(_change(desired, kind, run.service, name, reason, Phase.ROLL, impact))
    anew = {c.subject for c in changes if c.kind in (Kind.CREATE, Kind.REPLACE, Kind.START)}
    return [*_removals(desired, observed, anew), *changes]


def _removals(desired: DesiredHost, observed: Observed, anew: Collection[str]) -> Iterator[Change]:
    """Removals of containers that the host should not have.

    :param anew: containers that are created or started, which ends what an interrupted run left beside them
    """
    for name, seen in observed.containers.items():
        if not seen.managed or name in desired.containers:
            continue
        reason, impact, successor = "not in the catalog for this host", Impact.CONTROL, name.removesuffix(LEAVING)
        if seen.Labels.get("scs.layer") == STORAGE:
            # guests' data is behind it
            impact = Impact.DATA_PLANE
        if "scs.for_each" in seen.Labels:
            reason = "its disk is not in the inventory any more"
        if successor != name and successor in desired.containers:
            if successor in anew:
                continue
            reason, impact = f"an interrupted run replaced it by {successor}", Impact.RELOAD
        service = seen.Labels.get("scs.service", "")
        yield _change(desired, Kind.REMOVE, service, name, reason, Phase.ROLL, impact)


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
        kind = pickup(run, name)
        since = reloaded if kind is Kind.RELOAD else seen.started_at
        if kind and (name in files or (path in observed.files and observed.files[path][4] > since)):
            needs[name] = kind
    if not needs:
        return None, ""
    said = [f"{name}: {files[name]}" for name in needs if name in files]
    newer = [name.rpartition("/")[2] for name in needs if name not in files]
    why = "; ".join(said) if said else f"{', '.join(newer)} newer than the running process"
    return (Kind.RESTART if Kind.RESTART in needs.values() else Kind.RELOAD), why


def _is_reloaded(name: str, only: str) -> bool:
    if name == "ca.crt":
        return only == "tls"
    ours = name.startswith("tls/")
    return ours and (only != "leaf" or not name.endswith("ca.crt"))


def pickup(run: RunContainer, name: str) -> Kind | None:
    """How a running container picks up a file's new content: a restart, a reload, or nothing."""
    if name in run.live:
        return None
    if name.startswith(f"{ceph.SUBFOLDER}/"):
        # a client uses the key that it connected with
        return Kind.RESTART
    reload = run.reload
    if reload is None or (reload.only and not _is_reloaded(name, reload.only)):
        return Kind.RESTART
    return None if reload.itself else Kind.RELOAD


def _cluster_job(job: RunJob, observed: Observed) -> ClusterJob:
    return ClusterJob(
        name=job.name, service=job.service, phase=job.phase, hash=job.hash, last=observed.job_hash(job.name),
        once=job.once, superseded=job.schema_change and observed.superseded(job.name, job.hash),
    )  # fmt: skip


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


def _disks(
    desired: DesiredHost, observed: Observed, changes: Iterable[Change], secrets: Collection[str]
) -> Iterable[str]:
    """Disks that a new container would take, and that hold something. The id of the region's cluster is a secret."""
    for change in changes:
        run = desired.containers.get(change.subject)
        if change.kind is not Kind.CREATE or run is None:
            continue
        for path, name in run.disks.items():
            found = observed.disks.get(path)
            if found and (problem := found.problem(secrets)):
                yield (
                    f"host {desired.host}: disk {name}: {path} {problem}: erase it there if nobody needs that, "
                    f"or choose another disk in the inventory"
                )


def _refusals(
    desired: DesiredHost, observed: Observed, changes: list[Change], lock: Lock, secrets: Collection[str]
) -> Iterable[str]:
    sizes = {i.digest: i.size for i in lock.images.values()}
    pulls = [desired.containers[c.subject].image for c in changes if c.kind is Kind.PULL]
    needed = sum(sizes.get(i.rpartition("@")[2], 0) for i in pulls)
    if needed * 1.1 > observed.free:
        yield (
            f"host {desired.host}: {needed / 1e9:.1f} GB of images to pull, "
            f"{observed.free / 1e9:.1f} GB free: free disk space first"
        )
    if observed.firewall is not None and any(c.kind is Kind.CREATE for c in changes):
        missing = set(desired.lets_in) - set(observed.firewall)
        if missing:
            yield (
                f"host {desired.host}: its packet filter does not let in what its services need "
                f"({counted(len(missing), 'rule')}): run `scs bootstrap` first"
            )
    yield from _disks(desired, observed, changes, secrets)
    if any(c.kind is Kind.REMOVE for c in changes):
        return
    taken = {(a, p) for a, p in observed.listening}
    for change in changes:
        # one that an interrupted run left hands its ports over
        if change.kind is Kind.CREATE and change.subject + LEAVING not in observed.containers:
            run = desired.containers[change.subject]
            for port in run.ports:
                for address in (run.address, "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
                    if (address, port) in taken:
                        yield (
                            f"host {desired.host}: port {port} on {address}, which {run.name} needs, "
                            "is taken by another process: stop that first"
                        )
                        break
