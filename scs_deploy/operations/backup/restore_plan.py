# SPDX-License-Identifier: Apache-2.0
"""The plan of a restore: its preconditions and steps. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import RecoveryStep, names
from scs_deploy.operations.backup.manifest import DATABASE, ENVIRONMENT, Manifest
from scs_deploy.operations.backup.stream import mebibytes
from scs_deploy.shared import compute_node
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.container import Impact
from scs_deploy.spec.service import Saved


class HostFacts(Model):
    """The observed state of a host that takes part."""

    containers: frozenset[str] = frozenset()
    """all containers, running or not"""
    stopped: frozenset[str] = frozenset()
    """those of them that are stopped"""
    unreachable: str = ""
    """ssh's message; '' if the host is reachable"""


class Target(Model):
    """The database member to restore on."""

    host: str
    version: str
    """of the server in its image, e.g. 11.8.6-MariaDB"""
    free: int
    """bytes free where its data is"""
    needed: int
    """bytes needed to unpack the chain"""


class RestorePlan(Model):
    """What a restore will do."""

    backup: str
    links: tuple[str, ...]
    parts: tuple[str, ...]
    quiet: dict[str, tuple[str, ...]]
    """container stopped during the restore: its hosts"""
    beside: dict[str, tuple[str, ...]]
    """container of the same services that is already stopped, and started with them: its hosts"""
    adds: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """part that only adds what is missing: what it adds"""
    steps: tuple[RecoveryStep, ...]
    notes: tuple[str, ...] = ()


def version_key(text: str) -> tuple[int, ...]:
    """The numbers of a version or release, for comparison: 11.8.6-MariaDB, 2025.1."""
    return tuple(int(n) for n in re.findall(r"\d+", text.partition("-")[0]))


def dependents(catalog: Catalog, services: Collection[str]) -> frozenset[str]:
    """Services that require one of these, directly or indirectly."""
    found = set(services)
    while more := {s.name for s in catalog.services.values() if found & set(s.requires)} - found:
        found |= more
    return frozenset(found - set(services))


def quiet_containers(catalog: Catalog, parts: Collection[str], declared: Mapping[str, Saved]) -> tuple[str, ...]:
    """Containers that must be stopped during the restore: those of services that use the replaced data, and those
    whose files are replaced. Containers that carry guests and their traffic keep running.
    """
    roots = {
        name.partition(".")[0] for name in parts if name == DATABASE or (name in declared and declared[name].quiet)
    }
    online = {declared[n].container for n in parts if n in declared and not declared[n].offline}
    found = [declared[n].container for n in parts if n in declared and declared[n].offline]
    for service in dependents(catalog, roots):
        for name, spec in catalog.services[service].containers.items():
            if spec.impact is not Impact.DATA_PLANE and name not in online:
                found.append(name)
    return tuple(sorted(set(found)))


def refuse(
    backup: Manifest,
    release: str,
    hosts: Mapping[str, HostFacts],
    needed: Mapping[str, Collection[str]],
    target: Target | None,
) -> None:
    """Refuse an impossible restore, before anything changes.

    :param release: of the environment
    :param needed: container: hosts that must have it
    :param target: None if the database is not restored
    :raises RefusedError: the first reason
    """  # fmt: skip
    if version_key(backup.release) > version_key(release):
        raise RefusedError(
            f"backup {backup.id} is from release {backup.release}, but the region runs the older {release}",
            f"set release: {backup.release} in environment.yml and apply it first",
        )
    if version_key(backup.release) < version_key(release):
        raise RefusedError(
            f"backup {backup.id} is from release {backup.release}: services of {release} cannot use its schemas",
            f"restore it with release: {backup.release} in environment.yml, then upgrade",
        )
    for host in sorted({h for where in needed.values() for h in where}):
        if hosts[host].unreachable:
            raise RefusedError(
                f"host {host} is unreachable: {hosts[host].unreachable}",
                "a restore needs every member: repair the host, or `scs node remove`",
            )
    for container, where in sorted(needed.items()):
        for host in sorted(where):
            if container not in hosts[host].containers:
                raise RefusedError(f"host {host} has no container {container}", "scs apply creates it")
    database = backup.database
    if target is None or database is None:
        return
    ours, theirs = version_key(target.version), version_key(database.version)
    if ours < theirs:
        raise RefusedError(
            f"backup {backup.id} is from {database.version}, but the region's image has the older {target.version}",
            "scs images build mariadb; scs apply mariadb",
        )
    if ours[:2] != theirs[:2]:
        raise RefusedError(
            f"backup {backup.id} is from {database.version}: {target.version} cannot prepare a copy of another series",
            f"restore it with the image of {database.version}, then upgrade",
        )
    if target.free < target.needed:
        raise RefusedError(
            f"host {target.host}: {mebibytes(target.free)} free for the database, but "
            f"unpacking needs about {mebibytes(target.needed)}",
            "free disk space, or name another member with --host",
        )


def steps(
    links: Sequence[Manifest],
    parts: Sequence[str],
    declared: Mapping[str, Saved],
    where: Mapping[str, Sequence[str]],
    quiet: Mapping[str, Sequence[str]],
    members: Sequence[str],
    host: str,
    copies: bool,
) -> tuple[RecoveryStep, ...]:
    """The steps, in order. Steps that take long and can fail come before anything stops.

    :param where: container in which a part is loaded: its hosts
    :param quiet: container stopped during the restore: its hosts
    :param host: the database member to restore on
    :param copies: keep a copy of the data directory that is replaced
    """  # fmt: skip
    result: list[RecoveryStep] = []

    def add(action: str, hosts: Sequence[str], what: str, container: str = "", target: str = "") -> None:
        result.append(RecoveryStep(action=action, hosts=tuple(hosts), what=what, container=container, target=target))

    database = DATABASE in parts
    others = [m for m in members if m != host]
    if ENVIRONMENT in parts:
        add("extract", ("manager",), "extract the region's description next to the current one")
    if database:
        chain = " and ".join(filter(None, [links[0].id, f"{len(links) - 1} incremental" if len(links) > 1 else ""]))
        add("stage", (host,), f"unpack {chain} next to the current data, and apply the log", DATABASE)
    if quiet:
        on = sorted({h for own in quiet.values() for h in own})
        add("quiet", on, f"stop {len(quiet)} containers that use the replaced data")
    if database:
        add("stop", members, "stop the database", DATABASE)
        if copies:
            add("copy", (host,), "keep a copy of its data directory", DATABASE)
        add("swap", (host,), "install the restored data, with the current administrators' passwords", DATABASE)
        add("start", (host,), "start the database as a new cluster", DATABASE)
        add("compare", (host,), "compare tables and row counts with the manifest", DATABASE)
        for other in others:
            add("join", (other,), f"join the cluster with a full copy from {names([host])}", DATABASE)
        if computes := quiet.get(compute_node.CONTAINER):
            add("identify", computes, "set the compute nodes' identities to those in the database", target=host)
    for name in parts:
        if name in declared:
            saved = declared[name]
            on = list(where[saved.container]) if saved.offline else list(where[saved.container])[:1]
            add("load", on, f"load {name}", saved.container, name)
    if quiet:
        add("wake", sorted({h for own in quiet.values() for h in own}), f"start the {len(quiet)} containers again")
    return tuple(result)
