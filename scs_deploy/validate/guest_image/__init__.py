# SPDX-License-Identifier: Apache-2.0
"""The small virtual machine image that `scs validate` boots, built from Debian packages on the manager.

A cloud kernel and a busybox initramfs on one FAT partition, about 15 MB. The guest gets a DHCP lease, reads the
metadata service, reports both on its serial console as `scs-guest: ...` lines, and serves its instance ID over HTTP
on port 8080.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model

PORT = 8080
"""TCP port on which the guest serves its instance ID."""

MARKER = "scs-guest:"
"""First word of every line that the guest writes on its console."""

FILES = Path(__file__).parent / "files"
Result = TypeVar("Result")
FOLDER = "/tmp/scs-guest-image"  # noqa: S108 - in a container of its own


class GuestImage(Model):
    """A built image on the manager's disk."""

    path: Path
    package: str
    version: str
    inputs: str

    @property
    def name(self) -> str:
        """A name that changes with the content."""
        return f"scs-guest-{self.inputs[:12]}"


def inputs(version: str) -> str:
    """Hash of the kernel's version and of the build scripts."""
    digest = hashlib.sha256(version.encode())
    for file in sorted(FILES.iterdir()):
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def cached(folder: Path) -> GuestImage | None:
    """The newest image in `folder` that the current scripts built, or None."""
    for record in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True):
        image = record.with_suffix(".qcow2")
        made = json.loads(record.read_text(encoding="utf-8"))
        key = inputs(made["version"])
        if record.stem == key and image.is_file():
            return GuestImage(path=image, inputs=key, **made)
    return None


def ensure(
    folder: Path, base: str, *, refresh: bool = False, on_progress: Callable[[str], None] = lambda _: None
) -> GuestImage:
    """The guest image. Builds it if `folder` does not contain it.

    :param folder: the cache, e.g. `environment.state / "guest-image"`
    :param base: container image to build in, e.g. `scs/base:2025.1`
    :param refresh: check for a newer kernel package; by default, a cached image is sufficient
    :raises ScsError: no Docker engine, no base image, or the build failed (with its last lines)
    """
    present = cached(folder)
    if present and not refresh:
        return present
    folder.mkdir(parents=True, exist_ok=True)
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        raise ScsError(f"cannot connect to the Docker engine: {error}", "start it, or set DOCKER_HOST") from None
    if refresh and present:
        version = _run(client, base, "kernel", _last_line, on_progress)
        if version == present.version:
            return present
    return _run(client, base, "build", lambda container: _take(container, folder), on_progress)


def _run(
    client: docker.DockerClient,
    base: str,
    verb: str,
    take: Callable[[Container], Result],
    on_progress: Callable[[str], None],
) -> Result:
    try:
        container = client.containers.create(
            base, ["sh", f"{FOLDER}/build.sh", verb], network_mode="host", labels={"scs.guest-image": verb}
        )
    except ImageNotFound:
        raise ScsError(
            f"image {base}, which builds the guest image, is missing on this machine", "scs images build"
        ) from None
    try:
        container.put_archive("/", _archive())
        container.start()
        for line in _lines(container):
            if line.startswith("progress: "):
                on_progress(line.removeprefix("progress: "))
        if container.wait()["StatusCode"] != 0:
            tail = container.logs(tail=5).decode(errors="replace").strip().replace("\n", " | ")
            raise ScsError(f"building the guest image failed: {tail}", "check that Debian's mirror is reachable")
        return take(container)
    except APIError as error:
        raise ScsError(f"building the guest image failed: {error.explanation or error}") from None
    finally:
        container.remove(force=True, v=True)


def _lines(container: Container) -> Iterator[str]:
    rest = b""
    for chunk in container.logs(stream=True, follow=True):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def _last_line(container: Container) -> str:
    return str(container.logs(stderr=False, tail=1).decode().strip())


def _take(container: Container, folder: Path) -> GuestImage:
    made = json.loads(_fetch(container, "guest.json"))
    key = inputs(made["version"])
    image = folder / f"{key}.qcow2"
    temporary = image.with_suffix(".new")
    temporary.write_bytes(_fetch(container, "guest.qcow2"))
    temporary.replace(image)
    image.with_suffix(".json").write_text(json.dumps(made) + "\n", encoding="utf-8")
    for old in folder.iterdir():
        if old.stem != key:
            old.unlink()
    return GuestImage(path=image, inputs=key, **made)


def _fetch(container: Container, name: str) -> bytes:
    stream, _ = container.get_archive(f"{FOLDER}/{name}")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        member = archive.extractfile(name)
        if member is None:
            raise ScsError(f"building the guest image produced no {name}")
        return member.read()


def _archive() -> bytes:
    """The build scripts as a tar archive. It is sent through the API, so the engine can be on another machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in sorted(FILES.iterdir()):
            info = tarfile.TarInfo(f"{FOLDER.lstrip('/')}/{file.name}")
            info.mode = 0o755
            content = file.read_bytes()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
