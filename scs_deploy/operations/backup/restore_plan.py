# SPDX-License-Identifier: Apache-2.0
"""A restore: what stands against it, and its steps. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

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
    """What was seen of a host that takes part."""

    containers: frozenset[str] = frozenset()
    """all there are, running or not"""
    stopped: frozenset[str] = frozenset()
    """of them, those that do not run"""
    unreachable: str = ""
    """what ssh said"""


class Target(Model):
    """The member of the database that is restored on."""

    host: str
    version: str
    """of the server in its image, e.g. 11.8.6-MariaDB"""
    free: int
    """bytes, where its data is"""
    needed: int
    """bytes that the chain takes while it is unpacked"""


class RestorePlan(Model):
    """What a restore will do."""

    backup: str
    links: tuple[str, ...]
    parts: tuple[str, ...]
    quiet: dict[str, tuple[str, ...]]
    """container that is stopped meanwhile: its hosts"""
    beside: dict[str, tuple[str, ...]]
    """container of the same services that is started with them, for it is stopped already: its hosts"""
    steps: tuple[RecoveryStep, ...]
    notes: tuple[str, ...] = ()


def version_key(text: str) -> tuple[int, ...]:
    """Numbers of a version or a release, for comparing: 11.8.6-MariaDB, 2025.1."""
    return tuple(int(n) for n in re.findall(r"\d+", text.partition("-")[0]))


def dependents(catalog: Catalog, services: Collection[str]) -> frozenset[str]:
    """Services that require one of these, directly or through others."""
    found = set(services)
    while more := {s.name for s in catalog.services.values() if found & set(s.requires)} - found:
        found |= more
    return frozenset(found - set(services))


def quiet_containers(catalog: Catalog, parts: Collection[str], declared: Mapping[str, Saved]) -> tuple[str, ...]:
    """Containers that must not run while the parts are put back: those of services that use what is replaced, and
    those whose files are. What carries guests and their traffic goes on.
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
    """What makes a restore impossible, before anything changes.

    :param release: of the environment
    :param needed: container: hosts that must have it
    :param target: None: the database is not restored
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
    """The steps, in order. What takes long and can fail comes before anything stops.

    :param where: container that a part is loaded in: its hosts
    :param quiet: container that is stopped meanwhile: its hosts
    :param host: the member that the database is restored on
    :param copies: keep a copy of the data directory that is replaced
    """  # fmt: skip
    result: list[RecoveryStep] = []

    def add(action: str, hosts: Sequence[str], what: str, container: str = "", target: str = "") -> None:
        result.append(RecoveryStep(action=action, hosts=tuple(hosts), what=what, container=container, target=target))

    database = DATABASE in parts
    others = [m for m in members if m != host]
    if ENVIRONMENT in parts:
        add("extract", ("manager",), "extract the region's description beside the present one")
    if database:
        chain = " and ".join(filter(None, [links[0].id, f"{len(links) - 1} incremental" if len(links) > 1 else ""]))
        add("stage", (host,), f"unpack {chain} beside the present data, apply the log", DATABASE)
    if quiet:
        on = sorted({h for own in quiet.values() for h in own})
        add("quiet", on, f"stop {len(quiet)} containers that use what is replaced")
    if database:
        add("stop", members, "stop the database", DATABASE)
        if copies:
            add("copy", (host,), "copy its data directory aside", DATABASE)
        add("swap", (host,), "put the restored data in its place, with the present administrators' passwords", DATABASE)
        add("start", (host,), "start it as a new cluster", DATABASE)
        add("compare", (host,), "compare tables and rows with the manifest", DATABASE)
        for other in others:
            add("join", (other,), f"join it: a full copy from {names([host])}", DATABASE)
        if computes := quiet.get(compute_node.CONTAINER):
            add("identify", computes, "take the compute nodes' identities from the database", target=host)
    for name in parts:
        if name in declared:
            saved = declared[name]
            on = list(where[saved.container]) if saved.offline else list(where[saved.container])[:1]
            add("load", on, f"load {name}", saved.container, name)
    if quiet:
        add("wake", sorted({h for own in quiet.values() for h in own}), f"start the {len(quiet)} containers again")
    return tuple(result)
