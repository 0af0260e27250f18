# SPDX-License-Identifier: Apache-2.0
"""spec + release + environment -> what each host shall run, explicit to the last default.

All derived defaults live here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.desired import render
from scs_deploy.desired.scope import CA_FILE, template_scope
from scs_deploy.environment import overrides as config
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Health, Roll
from scs_deploy.spec.release import LockedImage
from scs_deploy.spec.service import Container, Impact, Phase, Service

NODE_CONFIG = "/etc/scs"
"""Folder of all rendered files on a node, one sub-folder per container."""

HEALTH_INTERVAL = 30
"""Seconds between Docker's health checks of a running container; a roll asks by itself, faster."""


_SYSTEM = ("/dev", "/sys", "/proc", "/etc/")
"""Host paths that are there, or not for a container to make."""

_SYSTEMPATHS = "systempaths=unconfined"


class File(Model):
    """A rendered file on a node."""

    path: str
    content: str = Field(repr=False)
    sha256: str
    mode: str
    uid: int
    gid: int
    service: str
    container: str
    name: str
    format: str
    sources: tuple[str, ...] = Field(default=(), description="override files merged over the template, weakest first")


class RunContainer(Model):
    """A container as Docker shall have it."""

    name: str
    service: str
    image: str = Field(description="registry/repository@digest")
    body: dict[str, Any] = Field(description="request of Docker's POST /containers/create")
    files: tuple[str, ...] = Field(description="paths of its files")
    health: tuple[str, ...] | None = Field(description="command inside the container that exits 0 when it works")
    health_timeout: int
    reload_signal: str | None
    reload_command: tuple[str, ...] | None
    reload_itself: bool = Field(default=False, description="takes them without being told")
    reload_only: str = Field(default="", description="files that a reload takes: leaf, tls; empty: all")
    live: tuple[str, ...] = Field(default=(), description="names of files that are read anew at each use")
    volumes: dict[str, tuple[int, int]] = Field(description="named volume: uid, gid of a new one")
    directories: dict[str, tuple[int, int]] = Field(description="host directory: uid, gid of a new one")
    address: str = Field(description="management address of its host")
    ports: tuple[int, ...] = Field(description="listens there, on the management address")
    impact: Impact
    gate: tuple[str, ...] | None = Field(default=None, description="exits 0 when the others can do without it")
    leave: tuple[str, ...] | None = Field(default=None, description="ends what it still holds before it stops")
    handover: bool = Field(default=False, description="the new container takes the old one's sockets")
    stay: str | None = Field(default=None, description="file that tells a new one to go on where this one was killed")
    roll_timeout: int = 300


class RunJob(Model):
    """A one-shot container."""

    name: str = Field(description="<service>.<job>")
    service: str
    phase: Phase
    each: str
    once: bool
    container: str
    image: str
    body: dict[str, Any]
    volumes: dict[str, tuple[int, int]]
    directories: dict[str, tuple[int, int]]
    schema_change: bool = Field(default=False, description="it changes a database's schema")
    hash: str = Field(description="of image and command, or of the release: another one means that it is due")
    timeout: int


class DesiredHost(Model):
    """All that one host shall have."""

    host: str
    containers: dict[str, RunContainer]
    files: dict[str, File]
    jobs: dict[str, RunJob]


def resolve(region: Region, host_name: str, services: Collection[str] | None = None) -> DesiredHost:
    """The desired state of one host.

    :param services: only these; None: all. What is left out needs no image, secret or override.
    :raises ScsError: a template does not render; RefusedError: secret, certificate, image lock or override is wrong
    """
    host = region.inventory.hosts[host_name]
    containers: dict[str, RunContainer] = {}
    files: dict[str, File] = {}
    jobs: dict[str, RunJob] = {}
    for service in region.catalog.services.values():
        if services is not None and service.name not in services:
            continue
        scope: dict[str, Any] | None = None
        for name, spec in service.containers.items():
            if (spec.hosts or service.hosts) not in host.groups:
                continue
            scope = scope or template_scope(region).of(service, host)
            uid, gid = _ids(region, spec.user)
            own = {**scope, "container": name, "uid": uid, "gid": gid}
            mine = _files(region, service, name, spec, host, own)
            files.update({f.path: f for f in mine})
            containers[name] = _container(region, service, name, spec, mine, own)
        for name, job in service.jobs.items():
            if job.container in containers and scope is not None:
                run = containers[job.container]
                jobs[f"{service.name}.{name}"] = _job(region, service, name, run, {**scope, "container": job.container})
    return DesiredHost(host=host_name, containers=containers, files=files, jobs=jobs)


def _ids(region: Region, user: str) -> tuple[int, int]:
    if user in ("root", "0"):
        return (0, 0)
    found = region.users[user.partition(":")[0]]
    return (found.uid or 0, found.gid)


def _files(
    region: Region, service: Service, name: str, spec: Container, host: Host, scope: Mapping[str, Any]
) -> list[File]:
    gid = _ids(region, spec.user)[1]

    def build(file: str, content: str, mode: str, fmt: str = "text", sources: tuple[str, ...] = ()) -> File:
        return File(
            path=f"{NODE_CONFIG}/{name}/{file}",
            content=content,
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            mode=mode,
            uid=0,
            gid=gid,
            service=service.name,
            container=name,
            name=file,
            format=fmt,
            sources=sources,
        )

    result = []
    for f in spec.config:
        fmt = config.file_format(f.name, f.format)
        base = render.template(service, f.template or f"{f.name}.j2", scope)
        layers = region.overrides.layers(service.layer, service.name, name, host.name, f.name, fmt)
        content = config.merge(base, [(str(p), p.read_text(encoding="utf-8")) for p in layers], fmt)
        result.append(build(f.name, content, f.mode, fmt, tuple(str(p) for p in layers)))
    certificates = region.certificates
    result.append(build("ca.crt", certificates.ca_pem, "0644"))
    if spec.tls:
        leaf = certificates.leaf(host.name)
        result.append(build("tls/host.crt", leaf.cert, "0644"))
        result.append(build("tls/host.key", leaf.key, "0640"))
        result.append(build("tls/ca.crt", certificates.ca_pem, "0644"))
    return result


def _container(
    region: Region, service: Service, name: str, spec: Container, files: list[File], scope: Mapping[str, Any]
) -> RunContainer:
    at = f"{service.directory / 'service.yml'}: containers.{name}"
    ids = _ids(region, spec.user)
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
        impact=spec.impact or _impact(service, ports),
        gate=_argv(roll.gate, scope, f"{at}.roll.gate"),
        leave=_argv(roll.leave, scope, f"{at}.roll.leave"),
        handover=roll.handover,
        stay=roll.stay,
        roll_timeout=roll.timeout,
    )


def _argv(words: tuple[str, ...] | None, scope: Mapping[str, Any], at: str) -> tuple[str, ...] | None:
    return tuple(render.leaf(w, scope, at) for w in words) if words else None


def _impact(service: Service, ports: tuple[int, ...]) -> Impact:
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


def _job(region: Region, service: Service, name: str, run: RunContainer, scope: Mapping[str, Any]) -> RunJob:
    job = service.jobs[name]
    at = f"{service.directory / 'service.yml'}: jobs.{name}.command"
    argv = [render.leaf(w, scope, at) for w in job.command]
    host_config = {k: v for k, v in run.body["HostConfig"].items() if k != "RestartPolicy"}
    body = {k: v for k, v in run.body.items() if k not in ("Healthcheck", "Labels")}
    body |= {
        "Cmd": argv,
        "HostConfig": host_config,
        "Labels": {"scs.job": f"{service.name}.{name}", "scs.service": service.name},
    }
    if job.user:
        body["User"] = job.user
    due = [region.release.openstack] if job.restart else [run.image.rpartition("@")[2], argv, body["User"]]
    digest = hashlib.sha256(json.dumps(due).encode()).hexdigest()
    return RunJob(
        name=f"{service.name}.{name}",
        service=service.name,
        phase=job.phase,
        each=job.each,
        once=job.once,
        container=job.container,
        image=run.image,
        body=body,
        volumes=run.volumes,
        directories=run.directories,
        schema_change=job.schema_change is not None,
        hash=digest,
        timeout=job.timeout,
    )
