# SPDX-License-Identifier: Apache-2.0
"""Compares the desired and the observed state of one host: the changes, their reasons and their impact. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.desired.model import NODE_CONFIG, DesiredHost, File, RunContainer, RunJob
from scs_deploy.environment import overrides as config
from scs_deploy.observed.compare import container_differences
from scs_deploy.observed.model import BackendServer, ForcedServer, Observed, ObservedContainer
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.jobs import ClusterJob, job_reason
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.release import Lock


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
    files, touched = _files(desired, observed, tuple(secrets))
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
        refusals=tuple(_refusals(desired, observed, changes, lock)),
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
            # loading new certificates interrupts nothing, whatever the container does
            gentle = kind is Kind.RELOAD and (run.impact is not Impact.DATA_PLANE or (run.reload and run.reload.only))
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


_LEAF = frozenset({"tls/host.crt", "tls/host.key"})
_RELOADED = {"leaf": _LEAF, "tls": _LEAF | {"ca.crt", "tls/ca.crt"}}


def pickup(run: RunContainer, name: str) -> Kind | None:
    """How a running container picks up a file's new content: a restart, a reload, or nothing."""
    if name in run.live:
        return None
    reload = run.reload
    if reload is None or (reload.only and name not in _RELOADED[reload.only]):
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


def _refusals(desired: DesiredHost, observed: Observed, changes: list[Change], lock: Lock) -> Iterable[str]:
    sizes = {i.digest: i.size for i in lock.images.values()}
    pulls = [desired.containers[c.subject].image for c in changes if c.kind is Kind.PULL]
    needed = sum(sizes.get(i.rpartition("@")[2], 0) for i in pulls)
    if needed * 1.1 > observed.free:
        yield (
            f"host {desired.host}: {needed / 1e9:.1f} GB of images to pull, "
            f"{observed.free / 1e9:.1f} GB free: free disk space first"
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
