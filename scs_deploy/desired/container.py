# SPDX-License-Identifier: Apache-2.0
"""A container's definition, with all that its spec leaves unsaid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import render
from scs_deploy.desired.files import owner
from scs_deploy.desired.model import NODE_CONFIG, File, RunContainer
from scs_deploy.desired.scope import CA_FILE
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Container, Health, Impact, Roll
from scs_deploy.spec.release import LockedImage
from scs_deploy.spec.service import Service

HEALTH_INTERVAL = 30
"""Seconds between Docker's health checks of a running container; a roll asks by itself, faster."""


_SYSTEM = ("/dev", "/sys", "/proc", "/etc/")
"""Host paths that are there, or not for a container to make."""

_SYSTEMPATHS = "systempaths=unconfined"


def define_container(
    region: Region, service: Service, name: str, spec: Container, files: list[File], scope: Mapping[str, Any]
) -> RunContainer:
    """A container as Docker shall have it.

    :param files: its files
    :raises ScsError: a string of its spec does not render; RefusedError: its image is not in the lock
    """
    at = f"{service.directory / 'service.yml'}: containers.{name}"
    ids = owner(region, spec.user)
    text = [render.leaf(v, scope, f"{at}.volumes") for v in spec.volumes]
    volumes = {v.partition(":")[0]: ids for v in text if not v.startswith("/")}
    directories = {
        path: (0, 0) if path.startswith("/run/") else ids
        for path in (v.partition(":")[0] for v in text)
        if path.startswith("/") and not path.startswith(_SYSTEM)
    }
    ports = tuple(
        e.backend_port or e.port
        for key, e in service.endpoints.items()
        if (e.container or next(iter(service.containers))) == name
    )
    health = _health(spec.health, ports, scope, at)
    image = _image(region, spec.image or service.name)
    devices = [d for d in (render.leaf(d, scope, f"{at}.devices") for d in spec.devices) if d]
    environment = {k: render.leaf(v, scope, f"{at}.environment.{k}") for k, v in spec.environment.items()}
    host_config: dict[str, Any] = {
        "NetworkMode": "host",
        "Binds": sorted([*(_bind(v) for v in text), *_config_binds(service, name, spec)]),
        "Tmpfs": {k: render.leaf(v, scope, f"{at}.tmpfs") for k, v in sorted(spec.tmpfs.items())},
        "CapAdd": sorted(spec.cap_add),
        "CapDrop": sorted(spec.cap_drop),
        "SecurityOpt": sorted(o for o in spec.security_opt if o != _SYSTEMPATHS),
        "PidMode": spec.pid or "",
        "CgroupnsMode": spec.cgroupns or "private",
        "Devices": [{"PathOnHost": d, "PathInContainer": d, "CgroupPermissions": "rwm"} for d in devices],
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
        "Privileged": False,
    }
    if _SYSTEMPATHS in spec.security_opt:
        # an option of the command line only: the API takes what it stands for
        host_config |= {"MaskedPaths": [], "ReadonlyPaths": []}
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": [render.leaf(w, scope, f"{at}.command") for w in spec.command],
        "User": spec.user,
        "Env": sorted(f"{k}={v}" for k, v in environment.items()),
        "Labels": {"scs.container": name, "scs.service": service.name, "scs.layer": service.layer},
        "StopSignal": spec.stop_signal or "SIGTERM",
        "StopTimeout": spec.stop_timeout,
        "HostConfig": host_config,
    }
    if health:
        second = 1_000_000_000
        body["Healthcheck"] = {
            "Test": ["CMD", *health],
            "Interval": HEALTH_INTERVAL * second,
            "Timeout": 15 * second,
            "Retries": 3,
            "StartPeriod": 120 * second,
        }
    body["Labels"]["scs.spec"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    reload = spec.reload
    roll = spec.roll or Roll()
    return RunContainer(
        name=name,
        service=service.name,
        image=image,
        body=body,
        files=tuple(f.path for f in files),
        health=health,
        health_timeout=spec.health.timeout if spec.health else 60,
        reload_signal=reload.signal if reload else None,
        reload_command=tuple(render.leaf(w, scope, f"{at}.reload") for w in reload.command)
        if reload and reload.command
        else None,
        reload_itself=reload.itself if reload else False,
        reload_only=(reload and reload.only) or "",
        live=tuple(f.name for f in spec.config if f.live),
        volumes=volumes,
        directories=directories,
        address=scope["address"],
        ports=ports,
        impact=spec.impact or default_impact(service, ports),
        gate=_argv(roll.gate, scope, f"{at}.roll.gate"),
        leave=_argv(roll.leave, scope, f"{at}.roll.leave"),
        handover=roll.handover,
        stay=roll.stay,
        roll_timeout=roll.timeout,
    )


def _argv(words: tuple[str, ...] | None, scope: Mapping[str, Any], at: str) -> tuple[str, ...] | None:
    return tuple(render.leaf(w, scope, at) for w in words) if words else None


def default_impact(service: Service, ports: tuple[int, ...]) -> Impact:
    """What a container's restart touches when its spec does not say."""
    http = any(e.protocol == "http" for e in service.endpoints.values())
    return Impact.API if ports and http else Impact.CONTROL


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
    """Docker's inspect shows binds as they were given: give them in one form, with explicit options."""
    parts = volume.split(":")
    return volume if len(parts) == 3 else f"{volume}:rw"


def _config_binds(service: Service, name: str, spec: Container) -> list[str]:
    directory = spec.config_dir or f"/etc/{service.name}"
    binds = [f"{NODE_CONFIG}/{name}/ca.crt:{CA_FILE}:ro"]
    if spec.tls:
        binds.append(f"{NODE_CONFIG}/{name}/tls:/etc/scs/tls:ro")
    if ((spec.reload and not spec.reload.only) or any(f.live for f in spec.config)) and spec.config:
        # a single mounted file keeps its inode: only a mounted directory shows a new version to a running process
        return [*binds, f"{NODE_CONFIG}/{name}:{directory}:ro"]
    return binds + [f"{NODE_CONFIG}/{name}/{f.name}:{f.path or f'{directory}/{f.name}'}:ro" for f in spec.config]


def _health(health: Health | None, ports: tuple[int, ...], scope: Mapping[str, Any], at: str) -> tuple[str, ...] | None:
    if health is None:
        return None
    if health.command:
        return tuple(render.leaf(w, scope, f"{at}.health") for w in health.command)
    address = scope["address"]
    if health.tcp:
        return ("nc", "-z", "-w", "5", address, str(health.tcp))
    port = ports[0] if ports else 80
    return ("curl", "-fsS", "-o", "/dev/null", "--max-time", "10", f"http://{address}:{port}{health.http}")
