# SPDX-License-Identifier: Apache-2.0
"""Defines a container, with all defaults of its spec."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import ceph, render
from scs_deploy.desired.model import NODE_CONFIG, File, RunContainer
from scs_deploy.desired.scope import CA_FILE
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.placing import item_of
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Container, Health, Repeated, Roll
from scs_deploy.spec.release import LockedImage
from scs_deploy.spec.service import Service

STOP_TIMEOUT = 30
"""Default seconds from a stop to a kill."""

TEMPORARY = "mode=1777,size=64m"
"""Of /tmp beside a read-only file system: what a process leaves there does not fill the host's disk."""

_SYSTEM = ("/dev", "/sys", "/proc", "/etc/")
"""Host paths that exist already, or that a container must not create."""

_SYSTEMPATHS = "systempaths=unconfined"


def define_container(
    region: Region, service: Service, name: str, spec: Container, files: list[File], scope: Mapping[str, Any]
) -> RunContainer:
    """The desired container in Docker.

    :param files: files of the container
    :raises ScsError: a string of its spec does not render; RefusedError: its image is not in the lock
    """
    at = f"{service.directory / 'service.yml'}: containers.{name}"
    ids = (scope["uid"], scope["gid"])
    volumes = [v for v in render.leaves(spec.volumes, scope, f"{at}.volumes") if v]
    sources = [v.partition(":")[0] for v in volumes]
    ports = service.ports(name)
    health = _health(render.leaves(spec.health, scope, f"{at}.health"), ports, scope["listen_address"])
    image = _image(region, spec.image or service.name)
    own = [*_config_binds(service, name, spec, files), *ceph.mounted(region, spec, f"{NODE_CONFIG}/{name}")]
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": list(render.leaves(spec.command, scope, f"{at}.command")),
        "User": spec.user,
        "Env": sorted(f"{k}={v}" for k, v in render.leaves(spec.environment, scope, f"{at}.environment").items()),
        "Labels": {"scs.container": name, "scs.service": service.name, "scs.layer": service.layer, **_series(spec)},
        "StopSignal": spec.stop_signal or "SIGTERM",
        "StopTimeout": spec.stop_timeout or STOP_TIMEOUT,
        "HostConfig": _host_config(spec, [*map(_bind, volumes), *own], scope, at),
    }
    if health:
        body["Healthcheck"] = _healthcheck(health.command or (), region.environment.settings.health_interval)
    body["Labels"]["scs.spec"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    return RunContainer(
        name=name,
        service=service.name,
        image=image,
        body=body,
        files=tuple(f.path for f in files),
        health=health,
        reload=render.leaves(spec.reload, scope, f"{at}.reload"),
        roll=render.leaves(spec.roll, scope, f"{at}.roll") or Roll(),
        live=(*(f.name for f in spec.config if f.live), *ceph.live(spec)),
        volumes={source: ids for source in sources if not source.startswith("/")},
        directories={
            path: (0, 0) if path.startswith("/run/") else ids
            for path in sources
            if path.startswith("/") and path != "/" and not path.startswith(_SYSTEM)
        },
        disks=_disks(spec, scope["host"]),
        address=scope["listen_address"],
        ports=ports,
        impact=service.impact_of(name),
    )


def _series(spec: Container) -> dict[str, str]:
    """The label of a container for a disk."""
    return {"scs.for_each": spec.origin} if isinstance(spec, Repeated) else {}


def _disks(spec: Container, host: Host) -> dict[str, str]:
    """Of a container for a disk: that disk, and those that hold its metadata."""
    item = item_of(spec, host)
    if item is None:
        return {}
    return {d.path: d.name for d in host.disks if d.name in (item.name, item.db, item.wal)}


def _host_config(spec: Container, binds: list[str], scope: Mapping[str, Any], at: str) -> dict[str, Any]:
    devices = [d for d in render.leaves(spec.devices, scope, f"{at}.devices") if d]
    tmpfs = render.leaves(spec.tmpfs, scope, f"{at}.tmpfs")
    result: dict[str, Any] = {
        "NetworkMode": "host",
        "Binds": sorted(binds),
        "Tmpfs": dict(sorted(tmpfs.items())),
        "CapAdd": sorted(spec.cap_add),
        "CapDrop": sorted(spec.cap_drop),
        "SecurityOpt": sorted([*(o for o in spec.security_opt if o != _SYSTEMPATHS), *_nothing_new(spec)]),
        "PidMode": spec.pid or "",
        "CgroupnsMode": spec.cgroupns or "private",
        "Devices": [{"PathOnHost": d, "PathInContainer": d, "CgroupPermissions": "rwm"} for d in devices],
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
        "Privileged": False,
    }
    if groups := [g for g in render.leaves(spec.group_add, scope, f"{at}.group_add") if g]:
        result["GroupAdd"] = sorted(groups)
    if spec.read_only:
        result["ReadonlyRootfs"] = True
        result["Tmpfs"] = {"/tmp": TEMPORARY} | result["Tmpfs"]  # noqa: S108 - of the container
    if spec.cpu_shares:
        # left out elsewhere: a definition that does not need it stays as it is
        result["CpuShares"] = spec.cpu_shares
    if _SYSTEMPATHS in spec.security_opt:
        # only the command line has this option; the API has its effects
        result |= {"MaskedPaths": [], "ReadonlyPaths": []}
    return result


def _nothing_new(spec: Container) -> list[str]:
    return ["no-new-privileges"] if spec.no_new_privileges else []


def _healthcheck(command: tuple[str, ...], interval: int) -> dict[str, Any]:
    second = 1_000_000_000
    return {
        "Test": ["CMD", *command],
        "Interval": interval * second,
        "Timeout": 15 * second,
        "Retries": 3,
        "StartPeriod": 120 * second,
    }


def _image(region: Region, name: str) -> str:
    spec = region.release.images[name]
    if spec.reference:
        return spec.reference
    locked = region.lock.images.get(name)
    if locked is None:
        raise RefusedError(f"{region.environment.lock_file}: images: no '{name}'", f"scs images build {name}")
    return _reference(region, locked)


def locked_images(region: Region) -> list[str]:
    """`registry/repository@digest` of every image of the release lock."""
    return [_reference(region, locked) for locked in region.lock.images.values()]


def _reference(region: Region, locked: LockedImage) -> str:
    return f"{region.environment.settings.registry.host}/{locked.reference}@{locked.digest}"


def _bind(volume: str) -> str:
    """A bind with explicit options, because Docker's inspect shows binds as they were given."""
    parts = volume.split(":")
    return volume if len(parts) == 3 else f"{volume}:rw"


def _config_binds(service: Service, name: str, spec: Container, files: list[File]) -> list[str]:
    directory = service.config_dir(name)
    present = {f.name for f in files}
    binds = [f"{NODE_CONFIG}/{name}/ca.crt:{CA_FILE}:ro"]
    if spec.tls:
        binds.append(f"{NODE_CONFIG}/{name}/tls:/etc/scs/tls:ro")
    if ((spec.reload and not spec.reload.only) or any(f.live for f in spec.config)) and spec.config:
        # a mounted file keeps its inode: a running process sees a new version only in a mounted directory
        return [*binds, f"{NODE_CONFIG}/{name}:{directory}:ro"]
    return binds + [
        f"{NODE_CONFIG}/{name}/{f.name}:{f.path or f'{directory}/{f.name}'}:ro"
        for f in spec.config
        if f.name in present
    ]


def _health(health: Health | None, ports: tuple[int, ...], address: str) -> Health | None:
    """Convert any kind of health check into a command."""
    if health is None or health.command:
        return health
    if health.tcp:
        command: tuple[str, ...] = ("nc", "-z", "-w", "5", address, str(health.tcp))
    else:
        url = f"http://{address}:{ports[0] if ports else 80}{health.http}"
        command = ("curl", "-fsS", "-o", "/dev/null", "--max-time", "10", url)
    return Health(command=command, timeout=health.timeout)
