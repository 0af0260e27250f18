# SPDX-License-Identifier: Apache-2.0
"""The manager's registry: two containers on one store. The manager pushes images on the loopback address. Hosts pull on
the region's registry address, which is read-only.
"""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import pki
from scs_deploy.secrets.issuing import Leaf
from scs_deploy.spec import users
from scs_deploy.spec.release import LockedImage

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from requests import Response


LOOPBACK = "127.0.0.1"
LABEL_CONFIG, LABEL_ENVIRONMENT = "scs.config", "scs.environment"
DEADLINE = 30.0
"""Seconds to wait for a started registry. It takes less than one."""

FOLDER = "etc/scs-registry"


def container_name(environment: Environment) -> str:
    """Name of the container for pushes and of its volume. The container that hosts pull from adds `-nodes`."""
    return f"scs-registry-{environment.name}"


class Listener(NamedTuple):
    """One container of the registry."""

    name: str
    address: str
    port: int
    writable: bool


def listeners(environment: Environment, local: Callable[[str], bool]) -> tuple[Listener, ...]:
    """The desired containers: always the writer, and the reader once its address is on this machine.

    :param local: whether an address belongs to this machine
    """
    registry = environment.settings.registry
    name = container_name(environment)
    writer = Listener(name, LOOPBACK, registry.port, writable=True)
    if registry.address == LOOPBACK or not local(registry.address):
        return (writer,)
    return writer, Listener(f"{name}-nodes", registry.address, registry.port, writable=False)


def config(listener: Listener) -> str:
    """The registry's configuration (https://distribution.github.io/distribution/about/configuration/)."""
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": "/var/lib/docker-registry"},
                "delete": {"enabled": listener.writable},
                "maintenance": {"readonly": {"enabled": not listener.writable}},
            },
            "http": {
                "addr": f"{listener.address}:{listener.port}",
                "tls": {
                    "certificate": f"/{FOLDER}/registry.crt",
                    "key": f"/{FOLDER}/registry.key",
                    "minimumtls": "tls1.2",
                },
            },
        }
    )


def push_host(environment: Environment) -> str:
    """`address:port` that the manager pushes to."""
    registry = environment.settings.registry
    return f"{LOOPBACK}:{registry.port}" if registry.managed else registry.host


def ensure(environment: Environment) -> list[str]:
    """Run the managed registry with the region's certificate. Returns the containers that were (re)created.

    :raises RefusedError: no certificate, or another process uses the port
    :raises ScsError: no registry image, or the registry does not start
    """
    leaf = pki.load(environment).leaf("registry")
    engine = docker_engine.connect()
    image = f"scs/registry:{environment.settings.release}"
    changed = []
    for listener in listeners(environment, _is_local):
        if _run(engine, environment, image, listener, leaf):
            changed.append(listener.name)
        _wait(environment, listener, engine)
    return changed


def remove(environment: Environment, report: Callable[[str], None], keep_images: bool = False) -> None:
    """Remove the registry's containers and, unless `keep_images`, its images.

    A registry that finds its images again needs no push; later pushes collect what no lock names.
    """
    from docker.errors import NotFound

    engine = docker_engine.connect()
    volume = container_name(environment)
    for name in (f"{volume}-nodes", volume):
        with suppress(NotFound):
            engine.containers.get(name).remove(force=True, v=True)
            report(f"removing {name}")
    if keep_images:
        return
    with suppress(NotFound):
        engine.volumes.get(volume).remove(force=True)
        report(f"removing volume {volume}")


def missing(environment: Environment, images: Mapping[str, LockedImage]) -> set[str]:
    """The locked images that are missing in the region's registry.

    :raises RefusedError: the registry does not respond
    """
    api = Api(environment)
    return {name for name, image in images.items() if api.labels(image) is None}


class Api:
    """The registry's HTTP API (https://distribution.github.io/distribution/spec/api/), from the manager."""

    def __init__(self, environment: Environment, address: str | None = None) -> None:
        import requests

        managed = environment.settings.registry.managed
        self.host = f"{address}:{environment.settings.registry.port}" if address else push_host(environment)
        self._session = requests.Session()
        # the manager's own registry is never behind a proxy and always has a certificate of the region's CA
        self._session.trust_env = not managed
        self._verify: str | bool = str(environment.ca_file) if managed else True

    def get(self, path: str, **headers: str) -> Response:
        """GET /v2/<path>.

        :raises RefusedError: the registry does not respond
        """
        return self._ask("GET", path, headers)

    def delete(self, reference: str, digest: str) -> None:
        """Delete a manifest and its tags. The next garbage collection removes its layers.

        :raises RefusedError: the registry does not respond
        :raises ScsError: the registry rejects the request
        """
        answer = self._ask("DELETE", f"{reference}/manifests/{digest}", {})
        if answer.status_code not in (202, 404):
            raise ScsError(f"registry {self.host}: cannot delete {reference}@{digest}: HTTP {answer.status_code}")

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        import requests

        url = f"https://{self.host}/v2/{path}"
        try:
            return self._session.request(method, url, headers=headers, verify=self._verify, timeout=30)
        except (requests.RequestException, OSError) as error:
            raise RefusedError(f"registry {self.host} does not respond: {_reason(error)}", "scs images push") from None

    def labels(self, image: LockedImage) -> dict[str, str] | None:
        """Labels of an image in the registry; None if the image is missing.

        :raises RefusedError: the registry does not respond
        """
        manifest = self.get(
            f"{image.reference}/manifests/{image.digest}",
            Accept="application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json",
        )
        if manifest.status_code != 200:
            return None
        blob = self.get(f"{image.reference}/blobs/{manifest.json()['config']['digest']}")
        if blob.status_code != 200:
            return None
        return dict(blob.json().get("config", {}).get("Labels") or {})


def _run(engine: DockerClient, environment: Environment, image: str, listener: Listener, leaf: Leaf) -> bool:
    """Create the container unless an identical one exists. Returns true if it was created."""
    from docker.errors import APIError, ImageNotFound, NotFound
    from docker.types import LogConfig

    try:
        image_id = str(engine.images.get(image).id)
    except ImageNotFound:
        raise ScsError(f"image {image} is missing on this manager", "scs images build registry") from None
    text = config(listener)
    wanted = hashlib.sha256("\n".join((image_id, text, leaf.cert)).encode()).hexdigest()
    with suppress(NotFound):
        present = engine.containers.get(listener.name)
        if present.labels.get(LABEL_CONFIG) == wanted:
            if present.status != "running":
                present.start()
            return False
        present.remove(force=True)
    container = engine.containers.create(
        image_id,
        ["docker-registry", "serve", f"/{FOLDER}/config.yml"],
        name=listener.name,
        user="docker-registry",
        network_mode="host",
        volumes={
            container_name(environment): {
                "bind": "/var/lib/docker-registry",
                "mode": "rw" if listener.writable else "ro",
            }
        },
        restart_policy={"Name": "always"},
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        labels={LABEL_CONFIG: wanted, LABEL_ENVIRONMENT: environment.name},
    )
    container.put_archive("/", _files({"config.yml": text, "registry.crt": leaf.cert, "registry.key": leaf.key}))
    try:
        container.start()
    except APIError as error:
        raise ScsError(f"container {listener.name} does not start: {error.explanation}") from None
    return True


def _files(files: Mapping[str, str]) -> bytes:
    # sent through the engine's socket: no argument, variable or file on the manager contains the key
    user = users.load()["docker-registry"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            content = text.encode()
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size, info.mode = len(content), 0o400
            info.uid, info.gid = user.uid or 0, user.gid
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _wait(environment: Environment, listener: Listener, engine: DockerClient) -> None:
    api = Api(environment, listener.address)
    end = time.monotonic() + DEADLINE
    while True:
        try:
            if api.get("").status_code == 200:
                return
            reason = "another server responds"
        except RefusedError as error:
            reason = error.message
        container: Container = engine.containers.get(listener.name)
        if time.monotonic() > end or container.attrs.get("RestartCount", 0) > 2:
            last: Any = container.logs(tail=1).decode(errors="replace").strip()
            raise RefusedError(
                f"{listener.name} on {listener.address}:{listener.port}: {reason}; last log line: {last}"
            )
        time.sleep(0.1)


def _is_local(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _reason(error: Exception) -> str:
    text = str(error)
    for known in ("certificate verify failed", "Connection refused", "timed out", "Name or service not known"):
        if known in text:
            return known
    return text.splitlines()[0]
